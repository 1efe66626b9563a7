"""Plain data to a hash, content to a file: whole or not at all."""

import errno
import hashlib
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cotune_bench.errors import UserError

#: Ends of the names of temporary files, and the age in seconds at which nobody writes one any more.
TEMPORARY, OLD = re.compile(r"\.[0-9a-f]{16}$"), 86400.0


def digest(value: object) -> str:
    """Hex SHA-256 of plain data (mappings, sequences, strings, numbers); the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file or nothing: to a temporary file beside it, flushed to the disk, then renamed."""
    with _temporary(path, content) as temporary:
        os.replace(temporary, path)
        sync_folder(path.parent)


def create_atomically(path: Path, content: bytes) -> bool:
    """As :func:`write_atomically`, but if the file exists it stays as it is, and the answer is False."""
    with _temporary(path, content) as temporary:
        try:
            os.link(temporary, path)  # unlike a rename, never replaces
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if path.exists():
                return False
            os.replace(temporary, path)
        sync_folder(path.parent)
    return True


@contextmanager
def _temporary(path: Path, content: bytes | memoryview) -> Iterator[Path]:
    """A flushed file with this content beside ``path``; removed afterwards, unless it was renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not mkstemp: its files are private, and os.umask shows what others are only by changing it for all threads.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _clear_old(path.parent)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk is found while writing, which names no file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _clear_old(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder."""
    for other in folder.glob(".*"):
        with suppress(OSError):
            if TEMPORARY.search(other.name) and time.time() - other.stat().st_mtime > OLD:
                other.unlink()


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, without which a rename may not survive a power cut."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(folder: Path, given: str = "results=") -> None:
    """Raise UserError if nothing could be written to this folder, ``given`` so; leaves nothing behind."""
    existing = folder
    try:
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{existing} is not a folder")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"{given}{folder} cannot be written ({error.strerror}): choose another folder") from error
