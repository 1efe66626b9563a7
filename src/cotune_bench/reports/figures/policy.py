"""Which blocks routed networks fine-tune: share of test images by data set and by class."""

import io
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd

from cotune_bench.reports.figures.base import (
    NAMED,
    Drawn,
    NamedFigure,
    content,
    evenly_spaced,
    heat_map,
    of_methods,
    stem,
)
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import display_name, display_rate

FILE = "policy.csv"
COINS = ("random_policy",)  # whose shares differ by chance alone


def policy_figures(grid: Grid, results: Path) -> Drawn:
    """One of all data sets, and one by class for each data set and method that learns a policy for each image."""
    shares = _by_data(grid, results)
    if not shares:
        return [], []
    learning = tuple(method for method in grid.spec.methods if method not in COINS)
    chosen = replace(grid, spec=replace(grid.spec, methods=learning)) if learning else grid
    by_class, _ = of_methods(chosen, results, FILE, _varying, partial(_of_classes, grid.spec.name))
    lacking = [data for data in filter(grid.runs, grid.spec.data) if all(data != other for _, other in shares)]
    return [_of_data(grid, shares), *by_class], lacking


def _read(text: str) -> pd.DataFrame:
    """Shares in percent by class (rows) and block, the first row that of all images."""
    return 100 * pd.read_csv(io.StringIO(text), index_col=0).drop(columns="images")


def _varying(text: str) -> pd.DataFrame:
    """Shares of up to NAMED classes; no rows where they are equal in all."""
    table = evenly_spaced(_read(text).iloc[1:], NAMED)
    return table if (table.nunique() > 1).any() else table.iloc[:0]


def _by_data(grid: Grid, results: Path) -> dict[tuple[str, str], pd.Series]:
    """Shares by block of each row that routes images and data set, mean of its runs at the largest rate."""
    found = {}
    for method, data in product(grid.spec.rows, grid.spec.data):
        keys = grid.cell(data, method, max(grid.spec.rates)).keys
        tables = [content(results / "runs" / key / FILE, _read) for key in keys]
        if rows := [table.iloc[0] for table in tables if table is not None]:
            found[method, data] = pd.concat(rows, axis=1).mean(axis=1)
    return found


def _of_data(grid: Grid, shares: dict[tuple[str, str], pd.Series]) -> NamedFigure:
    text = (
        "Share of test images that fine-tune each block, by data set, mean of the runs at a sampling rate of "
        f"{display_rate(max(grid.spec.rates))}. Blocks from the first to the last; 100 %: for every image."
    )
    named = {(display_name(method), data): values for (method, data), values in shares.items()}
    rows = [(*names, *(f"{share:.0f}" for share in values)) for names, values in named.items()]
    blocks = map(str, next(iter(shares.values())).index)
    table = pd.DataFrame({", ".join(names): values for names, values in named.items()}).T
    figure = heat_map(table, "", "Block", "Images (%)", vmax=100)
    return NamedFigure(stem(grid.spec.name, "policy"), figure, text, (("Method", "Data set", *blocks), *rows))


def _of_classes(name: str, cell: Cell, shares: pd.DataFrame) -> NamedFigure:
    text = (
        f"Share of a class's test images that fine-tune each block by {display_name(cell.method)} on {cell.data} at "
        f"a sampling rate of {display_rate(cell.rate)}, in one run; up to {NAMED} classes, evenly spaced."
    )
    figure = heat_map(shares.rename(index=str), "Class", "Block", "Images (%)", vmax=100)
    return NamedFigure(stem(name, cell.data, cell.method, "policy"), figure, text)
