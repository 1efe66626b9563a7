"""What the folders of a table's runs tell: loss terms while training, relationship, calibration."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cotune_bench.reports.grid import Cell, Grid

Content = TypeVar("Content")

#: Mean of one loss term over runs, by the number of updates done.
Term = dict[int, float]


def contents(
    grid: Grid, results: Path, name: str, read: Callable[[str], Content]
) -> tuple[list[tuple[Cell, Content]], list[str]]:
    """What runs left in the file ``name``, and the data sets whose runs left none that can be read.

    One for each data set and method, of the largest sampling rate and there the first run that has it.
    """
    found, lacking = [], []
    for data in grid.spec.data:
        before = len(found)
        for method in grid.spec.methods:
            cells = sorted(grid.row(data, method), key=lambda cell: -cell.rate)
            left = ((cell, _content(results / "runs" / key / name, read)) for cell in cells for key in cell.keys)
            found += [(cell, content) for cell, content in left if content is not None][:1]
        if len(found) == before and any(cell.n for cell in grid.cells if cell.data == data):
            lacking.append(data)
    return found, lacking


def mean_terms(cell: Cell, results: Path) -> tuple[dict[str, Term], int]:
    """Every weighted loss term of a cell by its name, the mean over runs, and the number of runs that tell it.

    Where runs report after different updates only those of all count.
    """
    found = [_content(results / "runs" / key / "metrics.csv", _terms) for key in cell.keys]
    runs = [run for run in found if run]
    names = [name for name in runs[0] if all(name in run for run in runs)] if runs else []
    means = {}
    for name in names:
        shared = sorted(set.intersection(*(set(run[name]) for run in runs)))
        means[name] = {updates: math.fsum(run[name][updates] for run in runs) / len(runs) for updates in shared}
    return means, len(runs)


def _terms(text: str) -> dict[str, Term]:
    """The terms in a ``metrics.csv``; a last line without an end is torn."""
    header, *rows = csv.reader(text.rpartition("\n")[0].splitlines())
    updates = header.index("updates")
    columns = [(place, name) for place, name in enumerate(header) if name not in ("updates", "lr", "loss")]
    return {name: {int(row[updates]): float(row[place]) for row in rows} for place, name in columns}


def _content(path: Path, read: Callable[[str], Content]) -> Content | None:
    try:
        return read(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, IndexError):  # a report is made from what is there
        return None
