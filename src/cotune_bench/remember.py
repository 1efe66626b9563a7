"""What follows from configuration files alone is worked out once."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cotune_bench.files import digest, write_atomically


def remembered(name: str, inputs: object, files: Sequence[Path], compute: Callable[[], dict]) -> dict:
    """``compute()``, plain data, or what it gave before for the same inputs, contents of files and environment.

    Kept in the cache folder; one that cannot be written costs time alone.
    """
    contents = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    environment = {variable: os.environ.get(variable, "") for variable in ("COTUNE_CACHE", "COTUNE_DATA")}
    folder = Path(environment["COTUNE_CACHE"] or "~/.cache/cotune_bench").expanduser() / name
    path = folder / f"{digest([inputs, contents, environment])[:24]}.json"
    with suppress(OSError, ValueError):  # not there or damaged
        return json.loads(path.read_text(encoding="utf-8"))
    found = compute()
    with suppress(OSError):
        write_atomically(path, json.dumps(found).encode())
    return found
