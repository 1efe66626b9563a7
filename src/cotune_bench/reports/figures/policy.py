"""Which blocks routed networks fine-tune: share of test images by data set and by class."""

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cotune_bench.reports.figures.base import (
    NAMED,
    WIDTH,
    Drawn,
    Figure,
    NamedFigure,
    content,
    heat_map,
    new_figure,
    of_methods,
    stem,
)
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import display_name, display_rate

FILE = "policy.csv"
WRITTEN = 8  # blocks up to which shares are written into the figure
COINS = ("random_policy",)  # whose shares differ by chance alone


def policy_figures(grid: Grid, results: Path) -> Drawn:
    """One of all data sets, and one by class for each data set and method that learns a policy for each image."""
    shares = _by_data(grid, results)
    if not shares:
        return [], []
    learning = tuple(method for method in grid.spec.methods if method not in COINS)
    chosen = replace(grid, spec=replace(grid.spec, methods=learning)) if learning else grid
    by_class, _ = of_methods(chosen, results, FILE, _varying, partial(_of_classes, grid.spec.name))
    drawn = {data for table in shares.values() for data in table.index}
    return [_of_data(grid, shares), *by_class], [
        data for data in grid.spec.data if grid.runs(data) and data not in drawn
    ]


def _read(text: str) -> pd.DataFrame:
    """Shares in percent by class (rows) and block, the first row that of all images."""
    return 100 * pd.read_csv(io.StringIO(text), index_col=0).drop(columns="images")


def _varying(text: str) -> dict[str, dict[str, float]]:
    """Shares of up to NAMED classes by name and block; empty where they are equal in all."""
    table = _read(text).iloc[1:]
    places = np.linspace(0, len(table) - 1, min(NAMED, len(table))).round().astype(int)
    return table.iloc[places].T.to_dict() if (table.nunique() > 1).any() else {}  # pyright: ignore


def _by_data(grid: Grid, results: Path) -> dict[str, pd.DataFrame]:
    """For each row that routes images, shares by data set and block, mean of its runs at the largest rate."""
    found: dict[str, pd.DataFrame] = {}
    for method in grid.spec.rows:
        means = {}
        for data in grid.spec.data:
            keys = grid.cell(data, method, max(grid.spec.rates)).keys
            tables = [content(results / "runs" / key / FILE, _read) for key in keys]
            if rows := [table.iloc[0] for table in tables if table is not None]:
                means[data] = pd.concat(rows, axis=1).mean(axis=1)
        if means:
            found[method] = pd.DataFrame(means).T
    return found


def _of_data(grid: Grid, shares: dict[str, pd.DataFrame]) -> NamedFigure:
    text = (
        "Share of test images that fine-tune each block, by data set, mean of the runs at a sampling rate of "
        f"{display_rate(max(grid.spec.rates))}. Blocks from the first to the last; 100 %: for every image."
    )
    blocks = list(next(iter(shares.values())).columns)
    rows = [("Method", "Data set", *blocks)]
    for method, table in shares.items():
        rows += [
            (display_name(method), str(data), *(f"{share:.0f}" for share in row))
            for data, row in zip(table.index, table.to_numpy(), strict=True)
        ]
    return NamedFigure(stem(grid.spec.name, "policy"), draw(shares), text, tuple(rows))


def draw(shares: dict[str, pd.DataFrame]) -> Figure:
    """A panel for each method: data sets down, blocks across, shares in percent as colours."""
    sizes = [len(table) for table in shares.values()]
    figure = new_figure(WIDTH, 0.22 * sum(sizes) + 0.3 * len(sizes) + 0.8)
    panels = figure.subplots(len(shares), 1, sharex=True, squeeze=False, height_ratios=sizes)[:, 0]
    for axes, (method, table) in zip(panels, shares.items(), strict=True):
        picture = axes.imshow(
            table.to_numpy(), cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="nearest"
        )
        axes.set_title(display_name(method), loc="left", fontsize=9)
        axes.set_yticks(range(len(table)), table.index, fontsize=7)
        axes.set_xticks(
            range(table.shape[1]), table.columns, fontsize=7, rotation=90 if table.shape[1] > WRITTEN else 0
        )
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for (down, across), share in np.ndenumerate(table.to_numpy()) if table.shape[1] <= WRITTEN else ():
            colour = "white" if share > 60 else "black"
            axes.text(across, down, f"{share:.0f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(picture, ax=list(panels), label="Images (%)", pad=0.02, shrink=0.9)
    return figure


def _of_classes(name: str, cell: Cell, shares: dict[str, dict[str, float]]) -> NamedFigure:
    text = (
        f"Share of a class's test images that fine-tune each block by {display_name(cell.method)} on {cell.data} at "
        f"a sampling rate of {display_rate(cell.rate)}, in one run; up to {NAMED} classes, evenly spaced."
    )
    figure = heat_map(pd.DataFrame(shares).T, "Class", "Block", "Images (%)", vmax=100)
    return NamedFigure(stem(name, cell.data, cell.method, "policy"), figure, text)
