"""The category relationship as a heat map, and in the paper's words as its rows."""

from pathlib import Path

import numpy as np
import pandas as pd

from cotune_bench.reports.figures.base import WIDTH, Figure, NamedFigure, new_figure, stem
from cotune_bench.reports.figures.runs import contents
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import display_name, display_rate
from cotune_bench.storage import relationship_file
from cotune_bench.storage.relationship_file import Share, in_words

TARGETS, SOURCES = 20, 40  # classes in a heat map, at most
TOP = 3  # source classes of each target class
ROW = 0.17  # inches for a target class
LONGEST = 24  # characters of a class name


def relationship_figures(grid: Grid, results: Path) -> tuple[list[NamedFigure], list[str]]:
    """One for each data set and method whose runs have a relationship, and the data sets whose runs have none."""
    found, lacking = contents(grid, results, relationship_file.FILE, relationship_file.from_csv)
    return [_named(grid, cell, shares) for cell, shares in found if shares], lacking


def _named(grid: Grid, cell: Cell, shares: dict[str, list[Share]]) -> NamedFigure:
    table = heat_map(shares)
    count = "all" if len(table) == len(shares) else f"{len(table)} (evenly spaced) of"
    text = (
        f"Category relationship p(source | target) that {display_name(cell.method)} learnt on {cell.data} at a "
        f"sampling rate of {display_rate(cell.rate)}: {count} {len(shares)} target classes, and the "
        f"{table.shape[1]} source classes that are largest for them, in percent; each row sums to 100 over all "
        "source classes."
    )
    rows = (("Target class", "Source classes"), *((name, in_words(row, TOP)) for name, row in shares.items()))
    return NamedFigure(stem(grid.spec.name, cell.data, cell.method, "relationship"), draw(table), text, rows)


def heat_map(shares: dict[str, list[Share]]) -> pd.DataFrame:
    """Shares in percent: at most TARGETS target classes (rows), and their largest source classes (columns).

    A source class stands beside the target class that it fits best.
    """
    targets = list(shares)
    spaced = np.linspace(0, len(targets) - 1, min(TARGETS, len(targets))).round().astype(int)
    chosen = [shares[targets[place]] for place in spaced]
    names = {share.number: share.source for row in chosen for share in row}
    table = pd.DataFrame([{share.number: share.percent for share in row} for row in chosen]).fillna(0.0)
    top = max(1, min(TOP, SOURCES // len(table)))
    largest = (table.rank(axis=1, ascending=False, method="first") <= top) & (table > 0)
    table = table.loc[:, largest.any()]
    table = table[sorted(table, key=lambda number: (table[number].argmax(), -table[number].max()))]
    return table.set_axis([targets[place] for place in spaced]).rename(columns=names)


def draw(table: pd.DataFrame) -> Figure:
    """Target classes down, source classes across, shares in percent: white is 0."""
    rows, columns = ([_short(name) for name in names] for names in table.axes)
    longest = max(map(len, columns))
    figure = new_figure(WIDTH, ROW * len(table) + 0.06 * longest + 0.9)
    axes = figure.add_subplot()
    picture = axes.imshow(table.to_numpy(), cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.set_xticks(range(len(columns)), columns, rotation=0 if longest <= 2 else 90, fontsize=7)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[["top", "right"]].set_visible(True)
    axes.set_ylabel("Target class")
    axes.set_xlabel("Source class")
    figure.colorbar(picture, ax=axes, label="Share (%)", pad=0.02, shrink=0.9)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
