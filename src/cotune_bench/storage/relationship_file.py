"""A category relationship in words and as a file: "elephant = 30 % Indian elephant + 26 % African elephant + ..."."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cotune_bench.storage.escape import csv_lines, uncell

FILE = "relationship.csv"  # in the folder of a run
COLUMNS = ("target", "source_number", "source", "percent")
LEAST = 0.1  # percent; smaller shares are not written, so that a thousand source classes stay a small file


@dataclass(frozen=True)
class Share:
    """A source class, by its place among all and its name, and its share of a target class in percent."""

    number: int
    source: str
    percent: float


def shares(row: ArrayLike, names: Sequence[str]) -> list[Share]:
    """All of a relationship's row (S,), largest first."""
    pairs = zip(names, np.asarray(row, dtype=np.float64), strict=True)
    found = [Share(number, str(name), 100 * float(value)) for number, (name, value) in enumerate(pairs)]
    return sorted(found, key=lambda share: -share.percent)


def to_csv(relationship: ArrayLike, targets: Sequence[str], sources: Sequence[str]) -> str:
    """The shares of every target class of a relationship (K, S), largest first, from LEAST percent on."""
    rows = [
        (target, share.number, share.source, f"{share.percent:.4g}")
        for target, row in zip(targets, np.asarray(relationship), strict=True)
        for share in shares(row, sources)
        if share.percent >= LEAST
    ]
    return csv_lines([COLUMNS, *rows])


def from_csv(text: str) -> dict[str, list[Share]]:
    """Target classes in order, each with its shares; ValueError for any other text than that of :func:`to_csv`."""
    header, *lines = csv.reader(io.StringIO(text))
    if tuple(header) != COLUMNS:
        raise ValueError(f"its columns are {', '.join(header)}")
    found: dict[str, list[Share]] = {}
    for target, number, source, percent in lines:
        found.setdefault(uncell(target), []).append(Share(int(number), uncell(source), float(percent)))
    return found


def in_words(row: Sequence[Share], top: int) -> str:
    """The ``top`` largest shares from 1 % on, and the rest: "30 % Indian elephant + 26 % tusker + 44 % others"."""
    largest = [share for share in row[:top] if share.percent >= 0.5]
    parts = [f"{share.percent:.0f} % {share.source}" for share in largest]
    left = 100 - sum(share.percent for share in largest)
    return " + ".join([*parts, f"{left:.0f} % others"] if left >= 0.5 else parts)
