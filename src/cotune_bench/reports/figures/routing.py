"""What routed networks choose: the blocks that they fine-tune (SpotTune), and the gates of sources (Zoo-Tuning)."""

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

POLICY, GATES, GATES_BY_CLASS = "policy.csv", "gates.csv", "gates_by_class.csv"
COINS = ("random_policy",)  # whose shares differ by chance alone


def _percent(text: str) -> pd.DataFrame:
    """A CSV file of shares as percent, its first column as names of the rows."""
    return 100 * pd.read_csv(io.StringIO(text), index_col=0).rename(index=str).astype(float)


def _of_classes(
    table: str, name: str, across: str, label: str, text: str, cell: Cell, shares: pd.DataFrame
) -> NamedFigure:
    """Shares by class; ``text`` begins the caption."""
    caption = (
        f"{text} by {display_name(cell.method)} on {cell.data} at a sampling rate of {display_rate(cell.rate)}, in "
        f"one run; up to {NAMED} classes, evenly spaced."
    )
    figure = heat_map(shares, "Class", across, label, vmax=100)
    return NamedFigure(stem(table, cell.data, cell.method, name), figure, caption)


# Blocks -------------------------------------------------------------------------------------------------------------


def policy_figures(grid: Grid, results: Path) -> Drawn:
    """One of all data sets, and one by class for each data set and method that learns a policy for each image."""
    shares = _by_data(grid, results)
    if not shares:
        return [], []
    learning = tuple(method for method in grid.spec.methods if method not in COINS)
    chosen = replace(grid, spec=replace(grid.spec, methods=learning)) if learning else grid
    text = "Share of a class's test images that fine-tune each block"
    named = partial(_of_classes, grid.spec.name, "policy", "Block", "Images (%)", text)
    by_class, _ = of_methods(chosen, results, POLICY, _varying, named)
    lacking = [data for data in filter(grid.runs, grid.spec.data) if all(data != other for _, other in shares)]
    return [_of_data(grid, shares), *by_class], lacking


def _policy(text: str) -> pd.DataFrame:
    """Shares by class (rows) and block, the first row that of all images."""
    return _percent(text).drop(columns="images")


def _varying(text: str) -> pd.DataFrame:
    """Shares of up to NAMED classes; no rows where they are equal in all."""
    table = evenly_spaced(_policy(text).iloc[1:], NAMED)
    return table if (table.nunique() > 1).any() else table.iloc[:0]


def _by_data(grid: Grid, results: Path) -> dict[tuple[str, str], pd.Series]:
    """Shares by block of each row that routes images and data set, mean of its runs at the largest rate."""
    found = {}
    for method, data in product(grid.spec.rows, grid.spec.data):
        keys = grid.cell(data, method, max(grid.spec.rates)).keys
        tables = [content(results / "runs" / key / POLICY, _policy) for key in keys]
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


# Gates --------------------------------------------------------------------------------------------------------------


def gate_figures(grid: Grid, results: Path) -> Drawn:
    """One by stage and, where gates depend on the image, one by class for each data set and method with gates."""
    by_stage, lacking = of_methods(grid, results, GATES, by_stage_of, partial(_of_stages, grid.spec.name))
    text = "Mean gate of each source over all layers on the training images of a class, here a number,"
    named = partial(_of_classes, grid.spec.name, "gates-classes", "Source", "Gate (%)", text)
    by_class, _ = of_methods(grid, results, GATES_BY_CLASS, lambda text: evenly_spaced(_percent(text), NAMED), named)
    return [*by_stage, *by_class], lacking if by_stage else []  # most tables have no gates


def by_stage_of(text: str) -> pd.DataFrame:
    """Mean gates in percent by stage (rows, the last is the mean over all layers) and source of a ``gates.csv``."""
    gates = _percent(text)
    stages = gates.index.str.replace(r"\..*", "", regex=True)
    means = {stage: gates[stages == stage].mean() for stage in stages.unique()}
    return pd.DataFrame({**means, "all layers": gates.mean()}).T


def _of_stages(name: str, cell: Cell, gates: pd.DataFrame) -> NamedFigure:
    text = (
        f"Mean gate of each source in {display_name(cell.method)} on the training images of {cell.data} at a "
        f"sampling rate of {display_rate(cell.rate)}, in one run, by stage of the network. Gates need not sum to "
        "100 %."
    )
    rows = [(stage, *(f"{gate:.1f}" for gate in row)) for stage, *row in gates.itertuples()]
    figure = heat_map(gates, "Stage", "Source", "Gate (%)")
    return NamedFigure(stem(name, cell.data, cell.method, "gates"), figure, text, (("Stage", *gates), *rows))
