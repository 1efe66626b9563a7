"""Things worth computing once: arrays on disk under a name made of every input that defines them."""

import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from cotune_bench.errors import UserError
from cotune_bench.storage.files import digest, write_atomically

log = logging.getLogger(__name__)

HASH = 32  # bytes of a SHA-256
Arrays = dict[str, np.ndarray]


class Cache:
    """A folder of files, each named by what it holds and a hash of all that defines it: a SHA-256 and an ``.npz``.

    Several processes may ask for the same thing at once: one computes, the others wait for its file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).expanduser()

    def get(self, kind: str, inputs: Mapping[str, object], compute: Callable[[], Arrays]) -> Arrays:
        """The arrays of ``kind`` for these inputs (plain data), computed if no file holds them yet.

        Raises:
            UserError: the folder cannot be written to.
        """
        path = self.folder / kind / f"{digest(dict(inputs))[:24]}.arrays"
        with _writing(path):
            if (arrays := _load(path)) is not None:
                return arrays
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock")).acquire()
        with lock:
            if (arrays := _load(path)) is None:
                arrays = compute()
                with _writing(path):
                    _save(path, arrays)
        return arrays


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be used ({error}): make room, or choose another cache=FOLDER") from error


def _load(path: Path) -> Arrays | None:
    """The arrays of a file, None if it does not exist or is damaged."""
    try:
        expected, content = (whole := path.read_bytes())[:HASH], whole[HASH:]
    except FileNotFoundError:
        return None
    if hashlib.sha256(content).digest() != expected:
        log.warning("%s is damaged and computed again", path)
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _save(path: Path, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    content = buffer.getvalue()
    write_atomically(path, hashlib.sha256(content).digest() + content)
