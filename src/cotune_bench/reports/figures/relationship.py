"""The category relationship as a heat map, and in the paper's words as its rows."""

from functools import partial
from pathlib import Path

import pandas as pd

from cotune_bench.reports.figures.base import Drawn, NamedFigure, evenly_spaced, heat_map, of_methods, stem
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import display_name, display_rate
from cotune_bench.storage import relationship_file
from cotune_bench.storage.relationship_file import Share, in_words

TARGETS, SOURCES = 20, 40  # classes in a heat map, at most
TOP = 3  # source classes of each target class


def relationship_figures(grid: Grid, results: Path) -> Drawn:
    """One for each data set and method whose runs have a relationship."""
    named = partial(_named, grid.spec.name)
    return of_methods(grid, results, relationship_file.FILE, relationship_file.from_csv, named)


def _named(name: str, cell: Cell, shares: dict[str, list[Share]]) -> NamedFigure:
    table = largest_shares(shares)
    count = "all" if len(table) == len(shares) else f"{len(table)} (evenly spaced) of"
    text = (
        f"Category relationship p(source | target) that {display_name(cell.method)} learnt on {cell.data} at a "
        f"sampling rate of {display_rate(cell.rate)}: {count} {len(shares)} target classes, and the "
        f"{table.shape[1]} source classes that are largest for them, in percent; each row sums to 100 over all "
        "source classes."
    )
    rows = (("Target class", "Source classes"), *((target, in_words(row, TOP)) for target, row in shares.items()))
    figure = heat_map(table, "Target class", "Source class", "Share (%)")
    return NamedFigure(stem(name, cell.data, cell.method, "relationship"), figure, text, rows)


def largest_shares(shares: dict[str, list[Share]]) -> pd.DataFrame:
    """Shares in percent: at most TARGETS target classes (rows), and their largest source classes (columns).

    A source class stands beside the target class that it fits best.
    """
    names = {share.number: share.source for row in shares.values() for share in row}
    percents = {target: {share.number: share.percent for share in row} for target, row in shares.items()}
    table = evenly_spaced(pd.DataFrame.from_dict(percents, orient="index").fillna(0.0), TARGETS)
    top = max(1, min(TOP, SOURCES // len(table)))
    largest = (table.rank(axis=1, ascending=False, method="first") <= top) & (table > 0)
    table = table.loc[:, largest.any()]
    table = table[sorted(table, key=lambda number: (table[number].argmax(), -table[number].max()))]
    return table.rename(columns=names)
