"""CIFAR-100: 32x32 photographs (Krizhevsky, 2009)."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from cotune_bench.data.dataset import Dataset, Reader
from cotune_bench.data.readers.common import find, lines, missing
from cotune_bench.errors import UserError

RECORD = 2 + 3 * 32 * 32  # coarse label, fine label, red, green and blue plane


def read(name: str, root: str) -> Dataset:
    """The binary version, or the Python version without running what its pickles may ask for."""
    if home := find(root, (".", "cifar-100-binary"), "train.bin"):
        classes = lines(name, home / "fine_label_names.txt")
        train, test = (_binary(name, home / f"{part}.bin") for part in ("train", "test"))
    elif home := find(root, (".", "cifar-100-python"), "train", "meta"):
        meta = _unpickled(name, home / "meta")
        classes = _field(name, home / "meta", meta, "fine_label_names")
        train, test = (_python(name, home / part) for part in ("train", "test"))
    else:
        raise missing(name, Path(root, "cifar-100-binary", "train.bin"))
    count = len(train[1])
    pixels = np.concatenate([train[0], test[0]]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Dataset(
        name=name,
        pixels=np.ascontiguousarray(pixels),
        labels=np.concatenate([train[1], test[1]]).astype(np.int64),
        classes=tuple(classes),
        train=np.arange(count),
        test=np.arange(count, len(pixels)),
    )


def _binary(name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3072) and fine labels (n,)."""
    if not path.is_file():
        raise missing(name, path)
    content = np.fromfile(path, np.uint8)
    if len(content) % RECORD or not len(content):
        raise UserError(
            f"data {name}: {path} has {len(content)} bytes, no multiple of {RECORD}: get the archive again"
        )
    records = content.reshape(-1, RECORD)
    return records[:, 2:], records[:, 1]


def _python(name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3072) and fine labels (n,)."""
    content = _unpickled(name, path)
    pixels, labels = np.asarray(_field(name, path, content, "data")), _field(name, path, content, "fine_labels")
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), RECORD - 2):
        raise UserError(f"data {name}: {path} holds pixels of shape {pixels.shape}: get the archive again")
    return pixels, np.asarray(labels)


def _field(name: str, path: Path, content: Any, field: str) -> Any:
    if not isinstance(content, dict) or field not in content:
        raise UserError(f"data {name}: {path} holds no {field}: get the archive again")
    return content[field]


_reconstruct: Any = np.zeros(0).__reduce__()[0]
#: All that a pickled array asks for, under numpy's old name and its new; anything else could run a stranger's code.
ARRAY: dict[str, Any] = {
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
}


class Arrays(pickle.Unpickler):
    """Unpickles plain values and numpy arrays, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """What builds an array; UnpicklingError for any other name."""
        if f"{module}.{name}" not in ARRAY:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ARRAY[f"{module}.{name}"]


def _unpickled(name: str, path: Path) -> Any:
    if not path.is_file():
        raise missing(name, path)
    try:
        return Arrays(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"data {name}: {path} is refused ({reason}): get the binary version of CIFAR-100") from error


READER = Reader(read, official={"classes": 100, "train": 50_000, "test": 10_000})
