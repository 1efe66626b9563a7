"""Things worth computing once: arrays on disk under a name made of every input that defines them."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock

from cotune_bench.files import digest, write_atomically

Arrays = dict[str, np.ndarray]


class Cache:
    """A folder of ``.npz`` files, each named by what it holds and a hash of all that defines it.

    Several processes may ask for the same thing at once: one computes, the others wait for its file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).expanduser()

    def get(self, kind: str, inputs: Mapping[str, object], compute: Callable[[], Arrays]) -> Arrays:
        """The arrays of ``kind`` for these inputs (plain data), computed if no file holds them yet."""
        path = self.folder / kind / f"{digest(dict(inputs))[:24]}.npz"
        if path.exists():
            return _load(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _save(path, compute())
        return _load(path)


def _load(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _save(path: Path, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())
