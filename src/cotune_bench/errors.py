"""Errors that a user can correct: one line that names the culprit and the remedy."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input; the command line prints the line and exits with 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean NAME? `` for the nearest known name, empty if none is near."""
    known = list(known)
    spelled = {one.lower(): one for one in known}
    near = [spelled[name.lower()]] if name.lower() in spelled else difflib.get_close_matches(name, known, 1, 0.6)
    return f"did you mean {near[0]}? " if near else ""


def count(number: int, noun: str) -> str:
    """``1 record``, ``2 records``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def suggest(name: str, known: Iterable[str]) -> str:
    """The nearest known name and all of them."""
    known = list(known)
    return f"{nearest(name, known)}choose {', '.join(known)}"
