"""Files from the web: resumed where they were cut, whole or not at all under their name, checked by md5."""

import contextlib
import hashlib
import http.client
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cotune_bench.errors import UserError

BLOCK = 1 << 20  # bytes read at once
PATIENCE = 60  # seconds without a byte until a connection counts as cut
CUTS = 20  # cut connections until giving up


def fetch(url: str, path: Path) -> None:
    """Download to ``path``, by way of ``path.part``, which a later call goes on with.

    Raises:
        UserError: the address cannot be reached, gives a web page, was cut too often, or the disk is full.
    """
    part = path.with_name(f"{path.name}.part")
    with writing(part):
        path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(CUTS):
        before = _size(part)
        reason = "the connection was cut"
        try:
            if _go_on(url, part):
                with writing(path):
                    os.replace(part, path)
                return
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (OSError, http.client.HTTPException) as error:
            reason = f"{error}" or type(error).__name__
        if _size(part) == before:
            break
    kept = f"; {part.name} is kept, and the same command goes on with it" if _size(part) else ""
    raise UserError(f"{url} cannot be downloaded ({reason}): get it by hand and put it at {path}{kept}")


def verify(path: Path, md5: str) -> None:
    """Compare a file's md5, if one is known; a file with another is renamed to ``.bad``, and UserError says so."""
    if not md5:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found == md5:
        return
    bad = path.with_name(f"{path.name}.bad")
    os.replace(path, bad)
    raise UserError(f"{path} has md5 {found} instead of {md5}: it is kept as {bad}; get it again")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A full disk or a folder that cannot be written becomes one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path} cannot be written ({reason}): make room, or choose another data_root") from error


@contextlib.contextmanager
def bar(what: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A progress bar in bytes on a terminal, nothing elsewhere; gives the function that advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=total, completed=done)
        yield lambda count: progress.advance(task, count)


def _go_on(url: str, part: Path) -> bool:
    """Add to ``part`` what is missing of it; False if the connection ended before the file did."""
    have = _size(part)
    headers = {"User-Agent": "cotune_bench", **({"Range": f"bytes={have}-"} if have else {})}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  addresses are http(s) and stand in a table
    try:
        answer = urllib.request.urlopen(request, timeout=PATIENCE)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return True  # all of it was there
        part.unlink()  # longer than the file, so not the same file
        return _go_on(url, part)
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise http.client.HTTPException("it answers with a web page")
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0  # the server gives the whole file
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        _require_room(part, int(length or 0))
        with bar(part.stem, total, have) as advance, _opened(part, "ab" if have else "wb") as file:
            while block := answer.read(BLOCK):
                with writing(part):
                    file.write(block)
                    file.flush()
                advance(len(block))
    return total is None or _size(part) == total


@contextlib.contextmanager
def _opened(path: Path, mode: str) -> Iterator:
    with writing(path):
        file = path.open(mode)
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # what could not be written was told by the write
            file.close()


def _require_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            f"{part.parent} has {free / 1e9:.1f} GB free, {part.stem} needs {needed / 1e9:.1f} GB: make room, "
            "or choose another data_root"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
