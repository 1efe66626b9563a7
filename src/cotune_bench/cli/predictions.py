"""Predictions of image files as text and as JSON, and the image files that paths name."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cotune_bench.data.readers.folder import IMAGES
from cotune_bench.errors import UserError
from cotune_bench.storage.relationship_file import Share, shares


def image_files(paths: Sequence[str]) -> tuple[list[Path], int]:
    """The files named, and those in the folders named and below that end as images do, sorted; other files' number.

    Raises:
        UserError: a path does not exist, or a folder holds no images.
    """
    files: list[Path] = []
    ignored = 0
    for path in map(Path, paths):
        if path.is_file():
            files.append(path)
            continue
        if not path.is_dir():
            raise UserError(f"{path} is no file and no folder: give images, or folders of images")
        held = list(_below(path))
        images = [file for file in held if file.suffix.lower() in IMAGES]
        if not images:
            raise UserError(f"{path} holds no images ({' '.join(sorted(IMAGES))}), in folders below it neither")
        files += images
        ignored += len(held) - len(images)
    return files, ignored


def _below(folder: Path) -> Iterator[Path]:
    """All files below a folder but hidden ones, in order."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def as_json(
    files: Sequence[Path],
    probabilities: np.ndarray,
    classes: Sequence[str],
    top: int,
    source: np.ndarray | None,
    source_classes: Sequence[str],
) -> Iterator[str]:
    """A line of JSON for each file: ``file``, ``top`` and, with a source head, ``resembles``."""
    for row, file in enumerate(files):
        line: dict[str, object] = {"file": str(file), "top": _named(probabilities[row], classes, top)}
        if source is not None:
            line["resembles"] = _named(source[row], source_classes, top)
        yield json.dumps(line, ensure_ascii=False)


def _named(probabilities: np.ndarray, names: Sequence[str], top: int) -> list[dict[str, object]]:
    largest = shares(probabilities, names)[:top]
    return [{"class": share.source, "probability": share.percent / 100} for share in largest]


def as_lines(
    files: Sequence[Path],
    probabilities: np.ndarray,
    classes: Sequence[str],
    top: int,
    source: np.ndarray | None,
    source_classes: Sequence[str],
) -> Iterator[str]:
    """A line for each file, its classes in percent; with a source head, another line of source classes."""
    width = max(len(str(file)) for file in files)
    rows = [[_percent(one) for one in shares(row, classes)[:top]] for row in probabilities]
    columns = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, (file, row) in enumerate(zip(files, rows, strict=True)):
        cells = (text.ljust(wide) for text, wide in zip(row, columns, strict=True))
        yield f"{str(file).ljust(width)}  {'  '.join(cells)}".rstrip()
        if source is not None:
            resembled = ", ".join(_percent(one) for one in shares(source[number], source_classes)[:top])
            yield f"{' ' * width}  resembles {resembled}"


def _percent(share: Share) -> str:
    return f"{share.source} {share.percent:.1f} %"
