"""Files in the run folders of a table."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cotune_bench.reports.grid import Cell, Grid

Content = TypeVar("Content")


def contents(
    grid: Grid, results: Path, name: str, read: Callable[[str], Content]
) -> tuple[list[tuple[Cell, Content]], list[str]]:
    """Contents of the file ``name`` in run folders, and the data sets whose runs have none that can be read.

    One for each data set and method, of the largest sampling rate and there the first run that has it.
    """
    found, lacking = [], []
    for data in grid.spec.data:
        before = len(found)
        for method in grid.spec.methods:
            cells = sorted(grid.row(data, method), key=lambda cell: -cell.rate)
            each = ((cell, content(results / "runs" / key / name, read)) for cell in cells for key in cell.keys)
            found += [(cell, one) for cell, one in each if one is not None][:1]
        if len(found) == before and any(cell.n for cell in grid.cells if cell.data == data):
            lacking.append(data)
    return found, lacking


def content(path: Path, read: Callable[[str], Content]) -> Content | None:
    """What ``read`` makes of a file's text; None for a file that is missing or damaged."""
    try:
        return read(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, LookupError):
        return None
