"""CIFAR-100: 32x32 photographs (Krizhevsky, 2009)."""

from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR100

from cotune_bench.data.dataset import Dataset, Reader
from cotune_bench.data.readers.common import find, lines, missing
from cotune_bench.errors import UserError

RECORD = 2 + 3 * 32 * 32  # coarse label, fine label, red, green and blue plane


class Pickled(CIFAR100):
    """torchvision's reader of the Python version, in any folder; it opens pickles of the published md5 only."""

    base_folder = ""


def read(name: str, root: str) -> Dataset:
    """The binary version, or the Python version."""
    if home := find(root, (".", "cifar-100-binary"), "train.bin"):
        classes = lines(name, home / "fine_label_names.txt")
        parts = [_binary(name, home / f"{part}.bin") for part in ("train", "test")]
    elif home := find(root, (".", "cifar-100-python"), "train", "meta"):
        try:
            pickled = [Pickled(home, train=train) for train in (True, False)]
        except RuntimeError as error:
            raise UserError(f"data {name}: {home} lacks files of the published md5: get them again") from error
        classes = pickled[0].classes
        parts = [(part.data, np.array(part.targets)) for part in pickled]
    else:
        raise missing(name, Path(root, "cifar-100-binary", "train.bin"))
    pixels, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    count = len(parts[0][1])
    return Dataset(
        name=name,
        pixels=np.ascontiguousarray(pixels),
        labels=labels.astype(np.int64),
        classes=tuple(classes),
        train=np.arange(count),
        test=np.arange(count, len(pixels)),
    )


def _binary(name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 32, 32, 3) and fine labels (n,)."""
    if not path.is_file():
        raise missing(name, path)
    content = np.fromfile(path, np.uint8)
    if len(content) % RECORD or not len(content):
        raise UserError(
            f"data {name}: {path} has {len(content)} bytes, no multiple of {RECORD}: get the archive again"
        )
    records = content.reshape(-1, RECORD)
    return records[:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 1]


READER = Reader(read, official={"classes": 100, "train": 50_000, "test": 10_000})
