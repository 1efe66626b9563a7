"""Errors that a user can correct: one line that names the culprit and the remedy."""

import difflib
import errno
from collections.abc import Iterable, Sequence

#: Errors of a disk or a folder, which no retry cures, and their remedies.
REMEDIES = {
    errno.ENOSPC: "make room there, or choose another folder",
    errno.EDQUOT: "make room there, or choose another folder",
    errno.EROFS: "choose another folder",
    errno.EACCES: "allow access to it, or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "choose another folder",
}


class UserError(ValueError):
    """Bad input; the command line prints the line and exits with 2."""


def described(error: Exception, place: object = "a file") -> str:
    """What went wrong, in one line: of a full disk or a locked folder the remedy, else the type of the error.

    Args:
        error: what was raised.
        place: what could not be used, where the error does not name it.
    """
    if isinstance(error, OSError) and error.errno in REMEDIES:
        return f"{error.filename or place} cannot be used ({error.strerror}): {REMEDIES[error.errno]}"
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean NAME? `` for the nearest known name, empty if none is near."""
    known = list(known)
    spelled = {one.lower(): one for one in known}
    near = [spelled[name.lower()]] if name.lower() in spelled else difflib.get_close_matches(name, known, 1, 0.6)
    return f"did you mean {near[0]}? " if near else ""


def count(number: int, noun: str) -> str:
    """``1 record``, ``2 records``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def some(names: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """The first names and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def suggest(name: str, known: Iterable[str]) -> str:
    """The nearest known name and all of them."""
    known = list(known)
    return f"{nearest(name, known)}choose {', '.join(known)}"
