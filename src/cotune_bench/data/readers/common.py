"""What the readers share: finding a data set on disk, reading its lists, and checking what they name."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from cotune_bench.data.dataset import ImageList, Labelled
from cotune_bench.data.rgb import reason
from cotune_bench.errors import UserError

#: Files below the root of a data set, each with its 0-based label.
Part = list[tuple[str, int]]

# On disk ----------------------------------------------------------------------------------------------------------


def find(root: str | Path, folders: Iterable[str], *needs: str) -> Path | None:
    """The first of these folders below ``root`` that holds all of ``needs``; None if there is no such folder."""
    homes = (Path(root, folder) for folder in folders)
    return next((home for home in homes if all((home / need).exists() for need in needs)), None)


def missing(name: str, path: Path, remedy: str = "") -> UserError:
    """The error that a file or folder is not there: what was expected, what is there instead, what to do."""
    gone = there = path.parent
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
    from scipy.io import loadmat  # only two data sets need it

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
    given = {"train": train, **({} if val is None else {"val": val}), "test": test}
    parts = {part: [(_below(name, root, file), label) for file, label in members] for part, members in given.items()}
    place: dict[str, str] = {}
    for part, members in parts.items():
        if not members:
            raise UserError(f"data {name}: there are no {part} images in {root}")
        for file, label in members:
            if file in place:
                where = f"twice in {part}" if place[file] == part else f"both in {place[file]} and in {part}"
                raise UserError(f"data {name}: {file} is {where}: name it once")
            if not 0 <= label < len(classes):
                raise UserError(
                    f"data {name}: {file} ({part}) has label {label}, outside 0..{len(classes) - 1}: correct it"
                )
            place[file] = part
    members = [member for part in parts.values() for member in part]
    ends = np.cumsum([len(part) for part in parts.values()])
    indices = dict(zip(parts, np.split(np.arange(len(members)), ends[:-1]), strict=True))
    return ImageList(
        name=name,
        root=root,
        files=tuple(file for file, _ in members),
        labels=np.array([label for _, label in members], dtype=np.int64),
        classes=tuple(classes),
        **indices,
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
    path = PurePosixPath(file)
    if path.is_absolute() and path.is_relative_to(root.absolute()):
        path = path.relative_to(root.absolute())
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"data {name}: {file} is outside its folder {root}: name it relative to data.root")
    return str(path)


# Checks -----------------------------------------------------------------------------------------------------------


def missing_files(data: ImageList) -> list[str]:
    """Files of the list that are not on disk, by listing each folder once."""
    held: dict[str, set[str]] = {}
    absent = []
    for file in data.files:
        folder, _, base = file.rpartition("/")
        if folder not in held:
            path = data.root / folder
            held[folder] = set(os.listdir(path)) if path.is_dir() else set()
        if base not in held[folder]:
            absent.append(file)
    return absent


def require_files(data: ImageList) -> None:
    """Stop before anything is trained if images are missing; UserError with their number and the first few."""
    absent = missing_files(data)
    if absent:
        raise UserError(
            f"data {data.name}: {len(absent)} of {len(data.files)} images are missing below {data.root} "
            f"(first: {', '.join(absent[:3])}): extract the archive again, or set data.root"
        )


@dataclass(frozen=True)
class CheckReport:
    """What is there of a data set, beside what should be.

    Attributes:
        counts, expected: number of ``classes`` and of images in ``train``, ``val`` and ``test``; of ``expected``
            only what is known.
        missing: files that are not there.
        unreadable: files that are there but cannot be decoded, with the reason.
    """

    name: str
    counts: dict[str, int]
    expected: dict[str, int]
    missing: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def problems(self) -> list[str]:
        """One line for each kind of problem; empty if all is well."""
        found = []
        for what, number in self.expected.items():
            if self.counts.get(what, 0) != number:
                found.append(f"{what}: {self.counts.get(what, 0)} instead of {number}")
        if self.missing:
            found.append(f"{len(self.missing)} images are missing, first {', '.join(self.missing[:3])}")
        if self.unreadable:
            some = ", ".join(f"{file} ({reason})" for file, reason in self.unreadable[:3])
            found.append(f"{len(self.unreadable)} images cannot be decoded, first {some}")
        return found


def check(data: Labelled, expected: Mapping[str, int], *, images: bool = True) -> CheckReport:
    """Compare counts with the official ones, look for every file and, with ``images``, decode every image."""
    counts = {"classes": len(data.classes), "train": len(data.train), "test": len(data.test)}
    if data.val is not None:
        counts["val"] = len(data.val)
    absent: list[str] = []
    broken: list[tuple[str, str]] = []
    if isinstance(data, ImageList):
        absent = missing_files(data)
        gone = set(absent)
        there = [file for file in data.files if file not in gone] if images else []
        with ThreadPoolExecutor() as pool:
            reasons = pool.map(lambda file: _why_unreadable(data.root / file), there)
            broken = [(file, reason) for file, reason in zip(there, reasons, strict=True) if reason]
    return CheckReport(data.name, counts, dict(expected), tuple(absent), tuple(broken))


def _why_unreadable(path: Path) -> str:
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # decoders raise many kinds on damaged files
        return reason(error, path)
    return ""
