"""Any data set of images in one folder per class."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import Part, find, image_list, missing
from cotune_bench.data.scan import look
from cotune_bench.data.splits import hold_out
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache

#: Image files of every class folder.
Members = dict[str, list[str]]

IMAGES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
VALIDATION = ("val", "valid", "validation", "dev")
REMEDY = "give every class a folder with its images, or set data.root"


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
    if home.exists() and not home.is_dir():
        raise UserError(
            f"data {name}: {home} is not a folder: set data.root to the folder that holds your class folders"
        )
    if not home.is_dir():
        raise missing(name, home, "set data.root to the folder of your images")
    parts = [""]
    if find(home, ["."], "train", "test") or class_folders(home / "train"):
        if not (home / "test").is_dir():
            remedy = f"put test images there, or let data.root={home / 'train'} set a part of those images aside"
            raise missing(name, home / "test", remedy)
        parts = _parts(home)
    members = {part: scan(name, home / part) for part in parts}
    strays = [file for part in parts for file in _strays(home, part, members[part])]
    bad = _drop_unreadable(name, home, members, cache) if skip_bad else []
    if "train" in members:
        images = _labelled(name, home, members)
    else:
        lonely = [kind for kind, files in members[""].items() if len(files) < 2]
        if lonely:
            more = f" ({len(lonely)} such classes)" if len(lonely) > 1 else ""
            raise UserError(
                f"data {name}: {home / lonely[0]} holds one image{more}: a class needs two, to train and to test"
            )
        images = split_by_class(name, home, members[""], test_share, split_seed)
    return replace(images, upright=True, strays=tuple(strays), unreadable=tuple(bad))


def _parts(home: Path) -> list[str]:
    validation = [part for part in VALIDATION if (home / part).is_dir()]
    return ["train", *validation[:1], "test"]


def _strays(home: Path, part: str, kinds: Iterable[str]) -> list[str]:
    """Files of the class folders that are no images by their endings."""
    held = {f"{PurePosixPath(part, kind)}": _entries(home / part / kind) for kind in kinds}
    return [f"{folder}/{entry.name}" for folder in held for entry in held[folder] if not _is_image(entry)]


def _drop_unreadable(name: str, home: Path, members: dict[str, Members], cache: str | None) -> list[str]:
    """Take files that cannot be read out of the members of every part; returns them, sorted."""
    places = [(part, kind, file) for part, kinds in members.items() for kind in kinds for file in kinds[kind]]
    files = [str(PurePosixPath(*place)) for place in places]
    reasons = look(home, files, Cache(Path(cache)) if cache else None).reasons
    for (part, kind, file), reason in zip(places, reasons, strict=True):
        if reason:
            members[part][kind].remove(file)
            if not members[part][kind]:
                raise UserError(f"data {name}: {home / part / kind} holds no readable images: {REMEDY}")
    return sorted(file for file, reason in zip(files, reasons, strict=True) if reason)


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
    return _labelled(name, home, {part: scan(name, home / part) for part in _parts(home)}, classes, **options)


def _labelled(
    name: str, home: Path, members: dict[str, Members], classes: Sequence[str] = (), **options: Any
) -> ImageList:
    spelled = _letters if classes else str
    classes = classes or in_order(members["train"])
    label = {spelled(kind): number for number, kind in enumerate(classes)}
    parts: dict[str, Part] = {}
    for part, kinds in members.items():
        stray = next((kind for kind in kinds if spelled(kind) not in label), None)
        if stray is not None:
            raise UserError(f"data {name}: {home / part / stray} is not one of the {len(classes)} classes: rename it")
        files = [(f"{part}/{kind}/{file}", label[spelled(kind)]) for kind in kinds for file in kinds[kind]]
        parts["val" if part in VALIDATION else part] = sorted(files, key=lambda image: image[1])
    return image_list(name, home, classes, **parts, **options)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def in_order(folders: Iterable[str]) -> tuple[str, ...]:
    """Names by their leading numbers if all have one (2 before 10), else by character."""
    names = sorted(folders)
    if all(name[0].isdecimal() for name in names):
        names.sort(key=lambda name: int("".join(takewhile(str.isdecimal, name))))
    return tuple(names)


def scan(name: str, folder: Path) -> Members:
    """Image files, sorted, of every class folder in a folder; ``name`` is that of the data set, for messages.

    A class folder may be nested in others, which hold no images: its class is then called by the whole path.
    """
    if not folder.is_dir():
        raise missing(name, folder, REMEDY)
    kinds = class_folders(folder)
    if len(kinds) < 2:
        remedy = REMEDY
        if kinds and len(class_folders(folder / kinds[0])) > 1:  # as archives unpack
            remedy = f"did you mean {folder / kinds[0]}?"
        number = "one class folder" if kinds else "no class folders"
        raise UserError(f"data {name}: {folder} holds {number}, at least 2 are needed: {remedy}")
    members = {}
    for kind in (leaf for outer in kinds for leaf in _leaves(name, folder, outer)):
        members[kind] = [entry.name for entry in _entries(folder / kind) if _is_image(entry)]
        if not members[kind]:
            endings = " ".join(sorted(IMAGES))
            raise UserError(f"data {name}: {folder / kind} holds no images ({endings}): {REMEDY}")
    return members


def _leaves(name: str, folder: Path, kind: str) -> list[str]:
    """The class folders at the ends of a tree: Fruit/Apple/Gala; ``kind`` itself if it holds no folders."""
    nested = class_folders(folder / kind)
    if nested and any(map(_is_image, _entries(folder / kind))):
        raise UserError(
            f"data {name}: {folder / kind} holds images and a folder ({nested[0]}): "
            "put its images into a folder of their own"
        )
    return [leaf for each in nested for leaf in _leaves(name, folder, f"{kind}/{each}")] or [kind]


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones; empty if the folder does not exist."""
    return [path.name for path in _entries(folder) if path.is_dir()] if folder.is_dir() else []


def _entries(folder: Path) -> list[Path]:
    shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted((path for path in shown if path.name != "__MACOSX"), key=lambda path: path.name)  # of a Mac's zip


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGES


READER = Reader(read)
