"""Any data set of images in one folder per class."""

import logging
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import Part, find, image_list, missing
from cotune_bench.data.scan import look
from cotune_bench.data.splits import hold_out
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache

log = logging.getLogger(__name__)

IMAGES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
VALIDATION = ("val", "valid", "validation", "dev")


def read(
    name: str,
    root: str,
    test_share: float = 0.2,
    split_seed: int = 0,
    skip_bad: bool = False,
    cache: str | None = None,
) -> ImageList:
    """Class folders below train/, test/ and perhaps val/; or class folders alone, ``test_share`` of each for test.

    The test split of class folders alone is stratified and depends on ``split_seed`` and the order of the names. With
    ``skip_bad``, files that cannot be read are left out before; what was seen of all files is kept in ``cache``.
    """
    home = Path(root).expanduser()
    if home.is_file():
        raise UserError(f"data {name}: {home} is a file: set data.root to the folder that holds your class folders")
    if not home.is_dir():
        raise missing(name, home, "set data.root to the folder of your images")
    if not os.access(home, os.R_OK | os.X_OK):
        raise UserError(f"data {name}: {home} may not be read: ask for the right to, or set data.root")
    bad = _unreadable(name, home, cache) if skip_bad else frozenset()
    strays: list[str] = []
    if _has_parts(home):
        if not (home / "test").is_dir():
            remedy = f"put test images there, or let data.root={home / 'train'} set a part of those images aside"
            raise missing(name, home / "test", remedy)
        images = read_split(name, home, skip=bad, strays=strays)
    else:
        members = scan(name, home, skip=bad, strays=strays)
        lonely = [kind for kind, files in members.items() if len(files) < 2]
        if lonely:
            more = f" ({len(lonely)} such classes)" if len(lonely) > 1 else ""
            raise UserError(
                f"data {name}: {home / lonely[0]} holds one image{more}: a class needs two, to train and to test"
            )
        images = split_by_class(name, home, members, test_share, split_seed)
    return replace(images, upright=True, strays=tuple(strays), unreadable=tuple(sorted(bad)))


def _has_parts(home: Path) -> bool:
    return bool(find(home, ["."], "train", "test") or class_folders(home / "train"))


def _unreadable(name: str, home: Path, cache: str | None) -> frozenset[str]:
    """Image files, relative to ``home``, that cannot be read."""
    parts = [part for part in ("train", *VALIDATION, "test") if (home / part).is_dir()] if _has_parts(home) else [""]
    files = [
        "/".join(filter(None, (part, kind, file)))
        for part in parts
        for kind, held in scan(name, home / part).items()
        for file in held
    ]
    looks = look(home, files, Cache(Path(cache)) if cache else None)
    return frozenset(file for file, reason in zip(files, looks.reasons, strict=True) if reason)


def split_by_class(name: str, home: Path, members: dict[str, list[str]], test_share: float, seed: int) -> ImageList:
    """Class folders of ``home`` as an image list; ``test_share`` of every class, drawn by ``seed``, is for test."""
    if not 0 < test_share < 1:
        raise UserError(f"data.test_share={test_share} cannot be used: it must be in (0, 1)")
    classes = in_order(members)
    images = [(f"{kind}/{file}", label) for label, kind in enumerate(classes) for file in members[kind]]
    train, test = hold_out(np.array([label for _, label in images]), test_share, seed)
    return image_list(name, home, classes, train=[images[i] for i in train], test=[images[i] for i in test])


def read_split(
    name: str,
    home: Path,
    classes: Sequence[str] = (),
    *,
    skip: Collection[str] = (),
    strays: list[str] | None = None,
    **options: Any,
) -> ImageList:
    """Class folders below train/, test/ and perhaps val/; ``skip`` and ``strays`` as in :func:`scan`.

    Labels follow ``classes``, whose names are compared by letters and digits alone (no folder can be called
    F-16A/B); without it, the folders of train/ in order.
    """
    validation = next((part for part in VALIDATION if (home / part).is_dir()), None)
    members = {
        part: scan(name, home / part, part=part, skip=skip, strays=strays)
        for part in ("train", validation, "test")
        if part
    }
    spelled = _letters if classes else str
    classes = classes or in_order(members["train"])
    label = {spelled(kind): number for number, kind in enumerate(classes)}
    parts: dict[str, Part] = {}
    for part, kinds in members.items():
        stray = next((kind for kind in kinds if spelled(kind) not in label), None)
        if stray is not None:
            raise UserError(f"data {name}: {home / part / stray} is not one of the {len(classes)} classes: rename it")
        parts[part] = [(f"{part}/{kind}/{file}", label[spelled(kind)]) for kind in kinds for file in kinds[kind]]
        parts[part].sort(key=lambda image: image[1])
    val = parts[validation] if validation else None
    return image_list(name, home, classes, train=parts["train"], val=val, test=parts["test"], **options)


def in_order(folders: Iterable[str]) -> tuple[str, ...]:
    """Names by their leading numbers if all have one (2 before 10), else by character."""
    names = sorted(folders)
    if all(name[0].isdecimal() for name in names):
        names.sort(key=lambda name: int("".join(takewhile(str.isdecimal, name))))
    return tuple(names)


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones; none where there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and _shown(entry.name))


def _shown(entry: str) -> bool:
    return not entry.startswith(".") and entry != "__MACOSX"  # what a Mac's zip leaves behind


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def scan(
    name: str, folder: Path, *, part: str = "", skip: Collection[str] = (), strays: list[str] | None = None
) -> dict[str, list[str]]:
    """Image files, sorted, of every class folder.

    Args:
        name: of the data set, for messages.
        folder: that holds the class folders.
        part: of the data set that ``folder`` is, "" if it is all of it.
        skip: files to leave out, relative to the data set.
        strays: takes the names of files that are no images by their endings, relative to the data set.
    """
    remedy = "give every class a folder with its images, or set data.root"
    if not folder.is_dir():
        raise missing(name, folder, remedy)
    kinds = class_folders(folder)
    if len(kinds) < 2:
        number = "one class folder" if kinds else "no class folders"
        if kinds and len(class_folders(folder / kinds[0])) > 1:  # as archives unpack
            remedy = f"did you mean {folder / kinds[0]}?"
        raise UserError(f"data {name}: {folder} holds {number}, at least 2 are needed: {remedy}")
    members, ignored = {}, []
    for kind in kinds:
        below = f"{part}/{kind}" if part else kind
        with os.scandir(folder / kind) as entries:
            held = {entry.name: entry.is_dir() for entry in entries if _shown(entry.name)}
        nested = sorted(entry for entry, is_folder in held.items() if is_folder)
        if nested:
            raise UserError(f"data {name}: {folder / kind} holds a folder ({nested[0]}) instead of images: {remedy}")
        images = sorted(entry for entry in held if Path(entry).suffix.lower() in IMAGES)
        ignored += [f"{below}/{entry}" for entry in sorted(held) if entry not in set(images)]
        members[kind] = [entry for entry in images if f"{below}/{entry}" not in skip]
        if not members[kind]:
            what = "readable images" if images else f"images ({' '.join(sorted(IMAGES))})"
            raise UserError(f"data {name}: {folder / kind} holds no {what}: {remedy}")
    if ignored:
        log.info("data %s: %d files in %s are no images and were left out", name, len(ignored), folder)
    if strays is not None:
        strays += ignored
    return members


READER = Reader(read)
