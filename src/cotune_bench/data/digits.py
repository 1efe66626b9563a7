"""Handwritten digits that ship with scikit-learn: the target of the desk benchmark."""

import numpy as np

from cotune_bench.data.dataset import Dataset


def read(name: str) -> Dataset:
    """1,797 real 8x8 scans of 10 classes; the first half (898) trains, the later half tests.

    The file keeps the order of the writers, so that the halves hardly share one. Each pixel counts the ink of a
    4x4 block, 0..16, and is stored as 0..255 (Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits).
    """
    from sklearn.datasets import load_digits  # 1.6 s that help and reports need not wait for

    images, labels = map(np.asarray, load_digits(return_X_y=True))
    pixels = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    order = np.arange(len(labels))
    half = len(labels) // 2
    return Dataset(
        name=name,
        pixels=pixels,
        labels=labels.astype(np.int64),
        classes=tuple("0123456789"),
        train=order[:half],
        test=order[half:],
    )
