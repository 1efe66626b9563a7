"""Handwritten digits that ship with scikit-learn: the target of the desk benchmark."""

from importlib.metadata import distribution

import numpy as np

from cotune_bench.data.dataset import Dataset, Reader


def read(name: str) -> Dataset:
    """1,797 real 8x8 scans of 10 classes; the first half (898) trains, the later half tests.

    The file keeps the order of the writers, so that the halves hardly share one. Each pixel counts the ink of a
    4x4 block, 0..16, and is stored as 0..255 (Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits).
    """
    # By its path: importing scikit-learn's own reader takes longer than a run trains.
    path = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    rows = np.loadtxt(str(path), delimiter=",", dtype=np.int64)
    half = len(rows) // 2
    return Dataset(
        name=name,
        pixels=np.round(rows[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8),
        labels=rows[:, -1],
        classes=tuple("0123456789"),
        train=np.arange(half),
        test=np.arange(half, len(rows)),
    )


READER = Reader(read)
