"""Archives to folders: nothing is written elsewhere, and a folder is there whole or not at all."""

import io
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from cotune_bench.data.prepare.download import bar, writing
from cotune_bench.errors import UserError

DAMAGED = (tarfile.ReadError, tarfile.HeaderError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError)


def unpack(files: Sequence[Path], target: Path, holds: str = "", *, parts: str = "") -> None:
    """Unpack a zip or tar, which may come in several ``files``, to ``target``, which is not there or empty.

    ``holds`` names the folder within the archive that becomes ``target``; "" stands for all of it. Everything goes
    to a hidden folder beside ``target`` first. ``parts`` is the pattern of the files' names where there are several.

    Raises:
        UserError: the archive is damaged, holds no such folder, or names anything outside of itself.
    """
    temporary = target.with_name(f".{target.name}.unpacking")
    with writing(target):
        shutil.rmtree(temporary, ignore_errors=True)  # of a command that was killed
        temporary.mkdir(parents=True)
    try:
        with bar(f"unpacking {files[0].name}", sum(file.stat().st_size for file in files)) as advance:
            try:
                _unpack(files, temporary, advance)
            except DAMAGED as error:
                raise UserError(_damage(files, parts, error)) from error
        replace(_within(files[0], temporary, holds), target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _damage(files: Sequence[Path], parts: str, error: Exception) -> str:
    if not parts:
        return f"{files[0]} is damaged or no archive ({error}): delete it and get it anew"
    sizes = ", ".join(f"{file.name} with {file.stat().st_size:,} bytes" for file in files)
    return (
        f"{files[0].parent / parts} cannot be joined ({error}): a part is missing, cut or damaged; there is {sizes}: "
        "compare with where they come from"
    )


def replace(folder: Path, target: Path) -> None:
    """Rename a folder to one that is not there or empty."""
    with writing(target):
        if target.is_dir():
            target.rmdir()  # Windows replaces no folder, not even an empty one
        os.replace(folder, target)


class Joined(io.RawIOBase):
    """Several files read as one, telling ``advance`` how much was read."""

    def __init__(self, files: Sequence[Path], advance: Callable[[int], None]) -> None:
        self._rest = list(files)
        self._advance = advance
        self._file: io.BufferedReader | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while self._file or self._rest:
            if self._file is None:
                self._file = self._rest.pop(0).open("rb")
            if count := self._file.readinto(buffer):
                self._advance(count)
                return count
            self._file.close()
            self._file = None
        return 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


def _unpack(files: Sequence[Path], folder: Path, advance: Callable[[int], None]) -> None:
    if len(files) == 1 and zipfile.is_zipfile(files[0]):
        with zipfile.ZipFile(files[0]) as archive:
            for member in archive.infolist():
                _require_inside(files[0], member.filename)
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise UserError(
                        f"{files[0]} holds a link ({member.filename}) and is not unpacked: get it elsewhere"
                    )
                with writing(folder):
                    archive.extract(member, folder)
                advance(member.compress_size)
        return
    if not hasattr(tarfile, "data_filter"):
        raise UserError("this Python unpacks no tar safely: use Python 3.11.4 or newer")
    with Joined(files, advance) as joined, tarfile.open(fileobj=io.BufferedReader(joined), mode="r|*") as archive:
        for member in archive:
            _require_inside(files[0], member.name)
            try:
                tarfile.data_filter(member, str(folder))
            except tarfile.FilterError as error:
                reason = str(error).partition(", ")[0].replace(str(folder), "its folder")
                raise UserError(f"{files[0]} is not unpacked, because {reason}: get it elsewhere") from error
            with writing(folder):
                archive.extract(member, folder, filter="data")


def _require_inside(file: Path, member: str) -> None:
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", member):
        raise UserError(f"{file} is not unpacked, because {member!r} leaves its folder: get it elsewhere")


def _within(file: Path, folder: Path, holds: str) -> Path:
    """The folder of this name at the top of what was unpacked, or one below it."""
    if not holds:
        return folder
    for found in (folder / holds, *sorted(folder.glob(f"*/{holds}"))):
        if found.is_dir() and not found.is_symlink():
            return found
    raise UserError(f"{file} holds no folder {holds}: delete it, then get it again")
