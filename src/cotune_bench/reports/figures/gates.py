"""Which sources the gates of Zoo-Tuning choose: mean gate of each source by stage of the network and by class."""

import io
from functools import partial
from pathlib import Path

import pandas as pd

from cotune_bench.reports.figures.base import NAMED, Drawn, NamedFigure, evenly_spaced, heat_map, of_methods, stem
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import display_name, display_rate

FILE, BY_CLASS = "gates.csv", "gates_by_class.csv"
ALL = "all layers"


def gate_figures(grid: Grid, results: Path) -> Drawn:
    """One by stage and, where gates depend on the image, one by class for each data set and method with gates."""
    by_stage, lacking = of_methods(grid, results, FILE, by_stage_of, partial(_of_stages, grid.spec.name))
    by_class, _ = of_methods(grid, results, BY_CLASS, _classes, partial(_of_classes, grid.spec.name))
    return [*by_stage, *by_class], lacking if by_stage else []  # most tables have no gates


def by_stage_of(text: str) -> pd.DataFrame:
    """Mean gates in percent by stage (rows, the last is the mean over all layers) and source of a ``gates.csv``."""
    gates = 100 * pd.read_csv(io.StringIO(text), index_col="layer").astype(float)
    stages = gates.groupby(gates.index.str.partition(".").get_level_values(0), sort=False).mean()
    stages.loc[ALL] = gates.mean()
    return stages


def _classes(text: str) -> pd.DataFrame:
    """Mean gates in percent of up to NAMED classes by class and source."""
    gates = 100 * pd.read_csv(io.StringIO(text), index_col="class").astype(float)
    return evenly_spaced(gates, NAMED).rename(index=str)


def _of_stages(name: str, cell: Cell, gates: pd.DataFrame) -> NamedFigure:
    text = (
        f"Mean gate of each source in {display_name(cell.method)} on the training images of {cell.data} at a "
        f"sampling rate of {display_rate(cell.rate)}, in one run, by stage of the network. Gates need not sum to "
        "100 %."
    )
    rows = [(stage, *(f"{gate:.1f}" for gate in row)) for stage, *row in gates.itertuples()]
    figure = heat_map(gates, "Stage", "Source", "Gate (%)")
    return NamedFigure(stem(name, cell.data, cell.method, "gates"), figure, text, (("Stage", *gates), *rows))


def _of_classes(name: str, cell: Cell, gates: pd.DataFrame) -> NamedFigure:
    text = (
        f"Mean gate of each source over all layers in {display_name(cell.method)} by class, as its number, on the "
        f"training images of {cell.data} at a sampling rate of {display_rate(cell.rate)}, in one run; up to {NAMED} "
        "classes, evenly spaced."
    )
    figure = heat_map(gates, "Class", "Source", "Gate (%)")
    return NamedFigure(stem(name, cell.data, cell.method, "gates-classes"), figure, text)
