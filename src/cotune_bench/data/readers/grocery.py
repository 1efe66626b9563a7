"""Grocery Store: photographs of fruit, vegetables and cartons in shops (Klasson et al., WACV 2019, MIT)."""

import csv
from pathlib import Path

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import Part, image_list, lines, require, with_validation
from cotune_bench.errors import UserError

HOMES = (".", "dataset", "GroceryStoreDataset/dataset", "GroceryStoreDataset-master/dataset")
LABELS = ("fine", "coarse")


def read(name: str, root: str, labels: str, validation: str) -> ImageList:
    """The lists ``train.txt``, ``val.txt`` and ``test.txt`` with lines ``file, fine label, coarse label``.

    Args:
        labels: ``fine`` (81 classes) or ``coarse`` (43).
        validation: as :func:`with_validation` has it.
    """
    if labels not in LABELS:
        raise UserError(f"data.labels={labels} is unknown: choose {' or '.join(LABELS)}")
    home = require(name, root, HOMES, "train.txt", "classes.csv")
    column = 2 * LABELS.index(labels)  # of the class's name; its number follows
    rows = [row for row in csv.reader(lines(name, home / "classes.csv")[1:]) if len(row) > column + 1]
    names = {int(row[column + 1]): row[column] for row in rows}
    parts = {part: _part(name, home / f"{part}.txt", labels) for part in ("train", "val", "test")}
    return with_validation(image_list(name, home, [names[number] for number in sorted(names)], **parts), validation)


def _part(name: str, path: Path, labels: str) -> Part:
    part = []
    for line in lines(name, path):
        try:
            file, fine, coarse = line.rsplit(",", 2)
            part.append((file.strip(), int(coarse if labels == "coarse" else fine)))
        except ValueError as error:
            raise UserError(
                f"data {name}: {path} has the line {line!r} instead of '<file>, <label>, <label>': get it again"
            ) from error
    return part


#: With validation=split, which is the default.
READER = Reader(read, official={"classes": 81, "train": 2936, "test": 2485})
