"""What the readers share: finding a data set on disk, reading its lists, and checking what they name."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from scipy.io import loadmat

from cotune_bench.data.dataset import ImageList, Labelled
from cotune_bench.data.scan import look
from cotune_bench.errors import UserError, count
from cotune_bench.storage.escape import plain

#: Files below the root of a data set, each with its 0-based label.
Part = list[tuple[str, int]]

# On disk ----------------------------------------------------------------------------------------------------------


def find(root: str | Path, folders: Iterable[str], *needs: str) -> Path | None:
    """The first of these folders below ``root`` that holds all of ``needs``; None if there is no such folder."""
    homes = (Path(root, folder) for folder in folders)
    return next((home for home in homes if all((home / need).exists() for need in needs)), None)


def require(name: str, root: str | Path, folders: Iterable[str], *needs: str, expected: str = "") -> Path:
    """As :func:`find`, but UserError if nothing is there; it names ``expected``, by default the first need."""
    home = find(root, folders, *needs)
    if home is None:
        raise missing(name, Path(root, expected or needs[0]))
    return home


def missing(name: str, path: Path, remedy: str = "") -> UserError:
    """The error that a file or folder is not there: what was expected, what is there instead, what to do."""
    gone = there = path.parent if path.parent != Path() else Path.cwd()
    while not there.is_dir():
        gone, there = there, there.parent
    held = sorted(entry.name for entry in there.iterdir() if not entry.name.startswith("."))
    some = ", ".join(held[:6]) + (", …" if len(held) > 6 else "") if held else "nothing"
    found = f"{there} holds {some}" if there != there.parent else f"there is no {gone}"
    remedy = remedy or f"run cotune-bench prepare-data {name}, or set data.root"
    return UserError(f"data {name}: {path} is missing ({found}): {remedy}")


def lines(name: str, path: Path) -> list[str]:
    """The lines of a text file that are not empty, stripped."""
    if not path.is_file():
        raise missing(name, path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"data {name}: {path} is not a text file in UTF-8 ({error.reason}): get it again") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def keyed(name: str, path: Path) -> Iterator[tuple[str, str]]:
    """Lines ``<key> <rest>``; the rest may hold spaces."""
    for line in lines(name, path):
        key, _, rest = line.partition(" ")
        if not rest:
            raise UserError(f"data {name}: {path} has the line {line!r} instead of '<id> <value>': get it again")
        yield key, rest.strip()


def labelled(name: str, path: Path) -> Part:
    """Lines ``<file> <label>``; the file may hold spaces, because the label is the last field."""
    part = []
    for line in lines(name, path):
        found = re.fullmatch(r"(.*?\S)[\s,]+(-?\d+)", line)
        if not found:
            raise UserError(f"data {name}: {path} has the line {line!r} instead of '<file> <label>': correct it")
        part.append((found[1].replace("\\", "/"), int(found[2])))
    return part


def matlab(name: str, path: Path, variable: str) -> np.ndarray:
    """A variable of a Matlab file as an array of at least one dimension, squeezed."""
    if not path.is_file():
        raise missing(name, path)
    try:
        return np.atleast_1d(loadmat(path, squeeze_me=True, variable_names=[variable])[variable])
    except Exception as error:  # a damaged file raises any of a dozen kinds
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"data {name}: {path} gives no {variable} ({reason}): get the file again") from error


# Into one list ----------------------------------------------------------------------------------------------------


def image_list(
    name: str, root: Path, classes: Sequence[str], *, train: Part, test: Part, val: Part | None = None, **options: Any
) -> ImageList:
    """The parts of a data set as one list, in the order train, val, test.

    Raises:
        UserError: there is nothing to train or test on, a file is elsewhere or is named twice, a label is no class.
    """
    place: dict[str, str] = {}
    labels: list[int] = []
    rows: dict[str, np.ndarray] = {}
    for part, members in {"train": train, **({} if val is None else {"val": val}), "test": test}.items():
        if not members:
            raise UserError(f"data {name}: there are no {part} images in {root}")
        rows[part] = np.arange(len(labels), len(labels) + len(members))
        for given, label in members:
            file = _below(name, root, given)
            if file in place:
                where = f"twice in {part}" if place[file] == part else f"both in {place[file]} and in {part}"
                raise UserError(f"data {name}: {file} is {where}: name it once")
            if not 0 <= label < len(classes):
                top = len(classes) - 1
                raise UserError(f"data {name}: {file} ({part}) has label {label}, outside 0..{top}: correct it")
            place[file] = part
            labels.append(label)
    return ImageList(
        name=name,
        root=root,
        files=tuple(place),
        labels=np.array(labels, dtype=np.int64),
        classes=tuple(classes),
        **rows,
        **options,
    )


def with_validation(images: ImageList, validation: str) -> ImageList:
    """An image list whose official validation images validate, or train.

    Args:
        validation: ``official``, or ``split``: training images with the others, a part of which the protocol holds
            out for each replicate.
    """
    if validation not in ("official", "split"):
        raise UserError(f"data.validation={validation} is unknown: choose official or split")
    if validation == "official" or images.val is None:
        return images
    return replace(images, train=np.concatenate([images.train, images.val]), val=None)


def _below(name: str, root: Path, file: str) -> str:
    if plain(file) != file:  # lists of images have a line of UTF-8 for each
        raise UserError(f"data {name}: the file name {file!a} has characters that are no text: rename it")
    path = PurePosixPath(file)
    if path.is_absolute() and path.is_relative_to(root.absolute()):
        path = path.relative_to(root.absolute())
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"data {name}: {file} is outside its folder {root}: name it relative to data.root")
    return str(path)


# Checks -----------------------------------------------------------------------------------------------------------


def missing_files(data: ImageList) -> list[str]:
    """Files of the list that are not on disk."""
    return [file for file in data.files if not (data.root / file).is_file()]


def require_files(data: ImageList) -> None:
    """Stop before anything is trained if images are missing; UserError with their number and the first few."""
    if absent := missing_files(data):
        are = "are missing or not files" if len(absent) > 1 else "is missing or not a file"
        raise UserError(
            f"data {data.name}: {len(absent)} of {len(data.files)} images {are} below {data.root} "
            f"(first: {', '.join(absent[:3])}): extract the archive again, or set data.root"
        )


def counts(data: Labelled) -> dict[str, int]:
    """Number of ``classes`` and of images in ``train``, ``test`` and, where there is one, ``val``."""
    val = {} if data.val is None else {"val": len(data.val)}
    return {"classes": len(data.classes), "train": len(data.train), "test": len(data.test), **val}


def problems(data: Labelled, expected: Mapping[str, int], *, images: bool = True) -> list[str]:
    """A line for each wrong count, one if files are missing and, with ``images``, one if some cannot be decoded."""
    there = counts(data)
    found = [f"{part}: {there.get(part, 0)} instead of {n}" for part, n in expected.items() if there.get(part) != n]
    if isinstance(data, ImageList):
        if absent := missing_files(data):
            are = "images are" if len(absent) > 1 else "image is"
            found.append(f"{len(absent)} {are} missing, first {', '.join(absent[:3])}")
        if images:
            files = sorted({*data.files} - {*absent})
            reasons = look(data.root, files, None).reasons
            if broken := [f"{file} ({why})" for file, why in zip(files, reasons, strict=True) if why]:
                found.append(f"{count(len(broken), 'image')} cannot be decoded, first {', '.join(broken[:3])}")
    return found
