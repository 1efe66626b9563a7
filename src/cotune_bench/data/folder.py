"""Any data set of images in one folder per class."""

import logging
import os
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from cotune_bench.data.dataset import ImageList
from cotune_bench.data.reading import Part, find, image_list, missing
from cotune_bench.data.splits import hold_out
from cotune_bench.errors import UserError

log = logging.getLogger(__name__)

IMAGES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
VALIDATION = ("val", "valid", "validation", "dev")


def read(name: str, root: str, test_share: float = 0.2, split_seed: int = 0) -> ImageList:
    """Class folders below train/, test/ and perhaps val/; or class folders alone, ``test_share`` of each for test.

    The test split of class folders alone is stratified and hangs on ``split_seed`` and the order of the names.
    """
    home = Path(root)
    if not home.is_dir():
        raise missing(name, home, "set data.root to the folder of your images")
    if find(home, ["."], "train", "test") or class_folders(home / "train"):
        return read_split(name, home)
    members = scan(name, home)
    lonely = next((kind for kind, files in members.items() if len(files) < 2), None)
    if lonely is not None:
        raise UserError(f"data {name}: {home / lonely} holds one image: a class needs two, to train and to test")
    return split_by_class(name, home, members, test_share, split_seed)


def split_by_class(name: str, home: Path, members: dict[str, list[str]], test_share: float, seed: int) -> ImageList:
    """Class folders of ``home`` as an image list; ``test_share`` of every class, drawn by ``seed``, is for test."""
    if not 0 < test_share < 1:
        raise UserError(f"data.test_share={test_share} cannot be used: it must be in (0, 1)")
    classes = in_order(members)
    images = [(f"{kind}/{file}", label) for label, kind in enumerate(classes) for file in members[kind]]
    train, test = hold_out(np.array([label for _, label in images]), test_share, seed)
    return image_list(name, home, classes, train=[images[i] for i in train], test=[images[i] for i in test])


def read_split(name: str, home: Path, classes: Sequence[str] = (), **options: Any) -> ImageList:
    """Class folders below train/, test/ and perhaps val/.

    Labels follow ``classes``, whose names are compared by letters and digits alone (no folder can be called
    F-16A/B); without it, the folders of train/ in order.
    """
    validation = next((part for part in VALIDATION if (home / part).is_dir()), None)
    members = {part: scan(name, home / part) for part in ("train", validation, "test") if part}
    spelled = _letters if classes else str
    classes = classes or in_order(members["train"])
    label = {spelled(kind): number for number, kind in enumerate(classes)}
    parts: dict[str, Part] = {}
    for part, kinds in members.items():
        stray = next((kind for kind in kinds if spelled(kind) not in label), None)
        if stray is not None:
            raise UserError(f"data {name}: {home / part / stray} is none of the {len(classes)} classes: rename it")
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


def scan(name: str, folder: Path) -> dict[str, list[str]]:
    """Image files, sorted, of every class folder; other files are counted in the log and left out."""
    remedy = "give every class a folder with its images, or set data.root"
    if not folder.is_dir():
        raise missing(name, folder, remedy)
    kinds = class_folders(folder)
    if len(kinds) < 2:
        number = "one class folder" if kinds else "no class folders"
        raise UserError(f"data {name}: {folder} holds {number}, at least 2 are needed: {remedy}")
    members, ignored = {}, 0
    for kind in kinds:
        with os.scandir(folder / kind) as entries:
            held = {entry.name: entry.is_dir() for entry in entries}
        nested = sorted(entry for entry, is_folder in held.items() if is_folder and _shown(entry))
        if nested:
            raise UserError(f"data {name}: {folder / kind} holds a folder ({nested[0]}) instead of images: {remedy}")
        members[kind] = sorted(entry for entry in held if _shown(entry) and Path(entry).suffix.lower() in IMAGES)
        ignored += len(held) - len(members[kind])
        if not members[kind]:
            raise UserError(f"data {name}: {folder / kind} holds no images ({' '.join(sorted(IMAGES))}): {remedy}")
    if ignored:
        log.info("data %s: %d files in %s are no images and were left out", name, ignored, folder)
    return members
