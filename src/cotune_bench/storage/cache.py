"""Things worth computing once: arrays on disk under a name made of every input that defines them."""

import io
import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock

from cotune_bench.storage.files import digest, write_atomically

log = logging.getLogger(__name__)

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
        if (arrays := _load(path)) is not None:
            return arrays
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if (arrays := _load(path)) is None:
                arrays = compute()
                _save(path, arrays)
        return arrays


def _load(path: Path) -> Arrays | None:
    """The arrays of a file, None if it does not exist or is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        return None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s is damaged (%s) and computed again", path, error)
        return None


def _save(path: Path, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    write_atomically(path, buffer.getvalue())
