"""Archives to folders: nothing is written outside of them, and a folder is there as a whole or not at all."""

import io
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from cotune_bench.errors import UserError

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError)
OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)")


class Joined(io.RawIOBase):
    """Several open files, read as one."""

    def __init__(self, files: Sequence[BinaryIO]) -> None:
        self._files = files

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes; none at the end of the last file."""
        return next((block for file in self._files if (block := file.read(size))), b"")


def unpack(files: Sequence[Path], target: Path, holds: str = "") -> None:
    """Unpack a zip, or a tar that may come in several ``files``, to ``target``, which is missing or empty.

    ``holds`` names the folder within the archive that becomes ``target``; "" stands for all of it. Everything goes
    to a hidden folder beside ``target`` first.

    Raises:
        UserError: the archive is damaged, lacks that folder, or names anything outside of itself.
    """
    temporary = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)  # of a command that was killed
    temporary.mkdir(parents=True)
    try:
        _extract(files, temporary)
        places = (temporary / holds, *sorted(temporary.glob(f"*/{holds}")))
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise UserError(f"{files[0]} holds no folder {holds}: delete it, then get it again")
        if target.is_dir():
            target.rmdir()  # Windows replaces no folder, not even an empty one
        os.replace(found, target)
    except tarfile.FilterError as error:
        raise _unsafe(files[0], f"{error.tarinfo.name} (a link or special file)") from error
    except DAMAGED as error:
        sizes = ", ".join(f"{file.name} ({file.stat().st_size:,} bytes)" for file in files)
        raise UserError(
            f"{sizes} in {files[0].parent} is incomplete, damaged or not an archive ({error}): get it again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(files: Sequence[Path], folder: Path) -> None:
    def inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        require_inside(member.name)
        return tarfile.data_filter(member, folder)

    def require_inside(name: str) -> None:  # Python would rename such members
        if OUTSIDE.match(name):
            raise _unsafe(files[0], name)

    if zipfile.is_zipfile(files[0]):
        with zipfile.ZipFile(files[0]) as archive:
            for name in archive.namelist():
                require_inside(name)
            archive.extractall(folder)  # noqa: S202 (their names are checked; links become plain files)
        return
    with ExitStack() as stack:
        joined = Joined([stack.enter_context(file.open("rb")) for file in files])
        archive = stack.enter_context(tarfile.open(fileobj=joined, mode="r|*"))
        archive.extractall(folder, filter=inside)  # noqa: S202


def _unsafe(file: Path, member: str) -> UserError:
    return UserError(f"{file} is not unpacked, because {member} leaves its folder: get it elsewhere")
