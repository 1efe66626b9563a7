"""How many runs share a GPU: lock files that the kernel frees when a process dies, however it dies."""

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

from filelock import FileLock, Timeout

from cotune_bench.errors import UserError

PAUSE = 1.0  # seconds between two looks for a free slot


@contextmanager
def slot(
    devices: Sequence[str], each: int, *, folder: Path | None = None, waiting: Callable[[], None] = lambda: None
) -> Iterator[int]:
    """Position of a device on which fewer than ``each`` runs are; this run counts there inside the context.

    Devices are filled evenly: the second slot of one is given once the first of all is taken.

    Args:
        devices: names that are the same in every process of this host, such as UUIDs.
        each: runs at once on one device.
        folder: of the lock files, on this host; that of this user by default.
        waiting: called before every pause while all are taken; what it raises ends the wait.
    """
    folder = host_folder() if folder is None else folder
    while (taken := _take(devices, each, folder)) is None:
        waiting()
        time.sleep(PAUSE)
    place, lock = taken
    try:
        yield place
    finally:
        lock.release()


def _take(devices: Sequence[str], each: int, folder: Path) -> tuple[int, FileLock] | None:
    for number, place in product(range(each), range(len(devices))):
        lock = FileLock(folder / f"{devices[place]}.slot{number}")
        with suppress(Timeout):
            lock.acquire(blocking=False)
            return place, lock
    return None


def host_folder() -> Path:
    """This user's folder for locks among the temporary files of this host; nobody else can write to it.

    Raises:
        UserError: somebody else made it, or it is a link.
    """
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""  # on Windows every user has a temporary folder
    folder = Path(tempfile.gettempdir()) / f"cotune_bench-slots{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (user and (found.st_uid != os.getuid() or found.st_mode & 0o022)):
        raise UserError(f"{folder} is not a folder of yours alone, as GPU slots need: remove it or set TMPDIR")
    return folder
