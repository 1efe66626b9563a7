"""The paper beside ours, as description: differences by cell and method, the order of methods, gains of Co-Tuning."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import pandas as pd
from scipy import stats

from cotune_bench.errors import UserError
from cotune_bench.reports.columns import find_column
from cotune_bench.reports.grid import Cell, Grid, Place, spread
from cotune_bench.reports.statistics import compare_all

PAPER = Path(__file__).parents[1] / "paper"
PAPER_SEEDS = 3  # behind the paper's std: an assumption
BASELINE, CHALLENGER = "finetune", "cotuning"


@dataclass(frozen=True)
class Gain:
    """Mean difference to fine-tune in points, over the units that both have.

    With replicates, over those that all methods of the column have, and with ``interval``: the verdict's 95 %
    interval, simultaneous over all pairs of methods.
    """

    mean: float
    units: int
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Comparison:
    """One cell beside the paper's (mean, std) and TLlib's accuracy in percent.

    Beside these, our sample std, our mean less the paper's in points and the gain over fine-tune. There is no
    difference where a run had random weights: nobody published such a number.
    """

    cell: Cell
    paper: tuple[float, float] | None
    tllib: float | None
    std: float | None
    difference: float | None
    gain: Gain | None


@dataclass(frozen=True)
class Order:
    """Kendall's tau-b between the paper's order of methods and ours in one column; None if one side is all tied."""

    data: str
    rate: float
    methods: int
    tau: float | None


@cache
def _rows(name: str) -> list[dict]:
    return pd.read_csv(PAPER / name).to_dict("records")


@cache
def published(table: str) -> dict[Place, tuple[float, float]]:
    """The paper's (mean, std) of ``table2`` or ``table3`` by (data, method, rate); empty for any other name."""
    rows = [row for row in _rows("cotuning.csv") if row["table"] == table]
    return {(row["data"], row["method"], row["rate"]): (row["mean"], row["std"]) for row in rows}


def published_backbone(table: str) -> str:
    """The backbone of a published table."""
    return next(row["backbone"] for row in _rows("cotuning.csv") if row["table"] == table)


@cache
def tllib() -> dict[Place, float]:
    """TLlib's accuracies with supervised pre-training by (data, method, rate), one run each."""
    rows = [row for row in _rows("tllib_benchmark.csv") if row["pretraining"] == "imagenet_supervised"]
    return {(row["data"], row["method"], row["rate"]): row["top1"] for row in rows}


def paper_table(name: str, chosen: str | None) -> str | None:
    """Which published table to compare with: the chosen one, else that of the same name, else None.

    Raises:
        UserError: the chosen one was not published.
    """
    if chosen is not None and not published(chosen):
        known = ", ".join(sorted({row["table"] for row in _rows("cotuning.csv")}))
        raise UserError(f"table {name}: paper={chosen} is unknown: choose {known}, or leave it out")
    return chosen or (name if published(name) else None)


def compare(grid: Grid, paper: str | None) -> tuple[Comparison, ...]:
    """Every cell of a grid beside the published table, if there is one."""
    gains, theirs = _gains(grid), published(paper) if paper else {}
    found = []
    for cell in grid.cells:
        place = cell.data, cell.method, cell.rate
        one = theirs.get(place)
        difference = cell.mean - one[0] if one and cell.mean is not None and not cell.random else None
        std = spread((accuracy for _, accuracy in cell.values), "sample")
        found.append(Comparison(cell, one, tllib().get(place), std, difference, gains.get(place)))
    return tuple(found)


def offsets(comparisons: Sequence[Comparison]) -> dict[str, list[float]]:
    """Ours less the paper's in points, for each method in all cells with both values; no method without any."""
    found: dict[str, list[float]] = {}
    for one in comparisons:
        if one.difference is not None:
            found.setdefault(one.cell.method, []).append(one.difference)
    return found


def orders(grid: Grid, paper: str) -> tuple[Order, ...]:
    """Agreement in the order of methods for every column in which two or more methods have both values.

    Cells with random weights are left out.
    """
    theirs, found = published(paper), []
    for data, rate in product(grid.spec.data, grid.spec.rates):
        cells = {(data, method, rate): grid.cell(data, method, rate) for method in grid.spec.methods}
        both = [
            (theirs[place][0], cell.mean)
            for place, cell in cells.items()
            if place in theirs and cell.n and not cell.random
        ]
        if len(both) > 1:
            tau = float(stats.kendalltau(*zip(*both, strict=True))[0])  # pyright: ignore
            found.append(Order(data, rate, len(both), None if math.isnan(tau) else tau))
    return tuple(found)


def _gains(grid: Grid) -> dict[Place, Gain]:
    """The gain over fine-tune of every other cell that shares a unit with it."""
    found = {}
    for data, rate in product(grid.spec.data, grid.spec.rates) if BASELINE in grid.spec.rows else ():
        baseline = dict(grid.cell(data, BASELINE, rate).values)
        for method in grid.spec.rows:
            values = grid.cell(data, method, rate).values
            gains = [accuracy - baseline[unit] for unit, accuracy in values if unit in baseline]
            if gains and method != BASELINE:
                found[data, method, rate] = Gain(math.fsum(gains) / len(gains), len(gains))
        column = find_column(grid, data, rate)
        if grid.spec.unit == "replicate" and len(column.units) > 1 and BASELINE in column.methods:
            for pair in compare_all(column.column):
                if BASELINE in (pair.first, pair.second):
                    pair = pair.over(BASELINE)
                    interval = (pair.low, pair.high) if pair.stderr else None
                    found[data, pair.first, rate] = Gain(pair.difference, len(column.units), interval)
    return found
