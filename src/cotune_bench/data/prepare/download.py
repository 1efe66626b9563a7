"""Files from the web by pooch: complete and with the published md5, or not at all."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pooch
from requests import RequestException

from cotune_bench.errors import UserError

RETRIES = 2


def fetch(url: str, path: Path, md5: str) -> None:
    """Download to ``path``; a progress bar is shown on a terminal where tqdm is installed.

    Raises:
        UserError: the address cannot be reached, or gives another file than the one with this md5.
    """
    registry: Any = {path.name: f"md5:{md5}" if md5 else None}
    store = pooch.Pooch(path.parent, "", registry, urls={path.name: url}, retry_if_failed=RETRIES)
    shown = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    downloader: Any = pooch.HTTPDownloader(
        progressbar=shown, chunk_size=1 << 20, timeout=60, headers={"User-Agent": "cotune_bench"}
    )
    try:
        store.fetch(path.name, downloader=downloader)
    except (ValueError, RequestException) as error:
        raise UserError(f"{url} cannot be downloaded ({error}): download it manually and put it at {path}") from error
    path.chmod(0o644)  # pooch's temporary files are private


def verify(path: Path, md5: str) -> None:
    """UserError if the md5 of a file is known and the file has another."""
    if md5 and (found := pooch.file_hash(path, alg="md5")) != md5:
        raise UserError(f"{path} has md5 {found} instead of {md5}: delete it and run this command again")
