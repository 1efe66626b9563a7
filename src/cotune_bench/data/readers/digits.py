"""Handwritten digits that ship with scikit-learn: the target of the desk benchmark."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cotune_bench.data.dataset import Dataset, Reader
from cotune_bench.errors import UserError


def read(name: str) -> Dataset:
    """1,797 real 8x8 scans of 10 classes; the first half (898) trains, the later half tests.

    The file keeps the order of the writers, so that the halves hardly share one. Each pixel counts the ink of a
    4x4 block, 0..16, and is stored as 0..255 (Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits).
    """
    with gzip.open(_file(), "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.int64)
    images, labels = rows[:, :-1], rows[:, -1]
    pixels = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    order = np.arange(len(labels))
    half = len(labels) // 2
    return Dataset(
        name=name,
        pixels=pixels,
        labels=labels,
        classes=tuple("0123456789"),
        train=order[:half],
        test=order[half:],
    )


def _file() -> Path:
    """Where scikit-learn keeps the table: its own reader takes longer to import than a run to train."""
    package = find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or []:
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            return path
    raise UserError("the digits of scikit-learn are not installed: pip install --force-reinstall scikit-learn")


READER = Reader(read)
