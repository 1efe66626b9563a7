"""The paper beside ours, as description: differences by cell and method, the order of methods, gains of Co-Tuning."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scipy import stats

from cotune_bench.errors import UserError
from cotune_bench.reports.columns import find_column
from cotune_bench.reports.grid import Cell, Grid, Place, spread
from cotune_bench.reports.statistics import compare_all

PAPER = Path(__file__).parents[1] / "paper"
PAPER_SEEDS = 3  # behind the paper's std: an assumption
BASELINE, CHALLENGER = "finetune", "cotuning"


@dataclass(frozen=True)
class Sample:
    """Mean, sample std (None if n < 2) and size of several accuracies in percent."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Gain:
    """Mean difference to fine-tune in points, over the units that both have.

    With replicates, over those that all methods of the column have, and with ``bounds``: the verdict's 95 % interval,
    simultaneous over all pairs of methods.
    """

    mean: float
    units: int
    bounds: tuple[float, float] | None = None

    def interval(self) -> tuple[float, float] | None:
        """Bounds of the interval, where there is one."""
        return self.bounds


@dataclass(frozen=True)
class Comparison:
    """One cell: the paper's value and ours, ours less the paper's in points, and the gain over fine-tune.

    No difference where a run had random weights: nobody published such a number.
    """

    cell: Cell
    paper: Sample | None
    ours: Sample | None
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
def published(table: str) -> dict[Place, Sample]:
    """The paper's cells of ``table2`` or ``table3`` by (data, method, rate); empty for any other name."""
    return {
        (row["data"], row["method"], float(row["rate"])): Sample(float(row["mean"]), float(row["std"]), PAPER_SEEDS)
        for row in _rows("cotuning.csv")
        if row["table"] == table
    }


@cache
def published_backbone(table: str) -> str:
    """The backbone of a published table."""
    return next(row["backbone"] for row in _rows("cotuning.csv") if row["table"] == table)


@cache
def tllib() -> dict[Place, float]:
    """TLlib's accuracies with supervised pre-training by (data, method, rate), one run each."""
    return {
        (row["data"], row["method"], float(row["rate"])): float(row["top1"])
        for row in _rows("tllib_benchmark.csv")
        if row["pretraining"] == "imagenet_supervised"
    }


def _rows(name: str) -> list[dict[str, str]]:
    with (PAPER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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
    gains = _gains(grid)
    found = []
    for cell in grid.cells:
        theirs = published(paper).get((cell.data, cell.method, cell.rate)) if paper else None
        ours = _sample(cell)
        difference = ours.mean - theirs.mean if ours and theirs and not cell.random else None
        found.append(Comparison(cell, theirs, ours, difference, gains.get((cell.data, cell.method, cell.rate))))
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
    found = []
    for data in grid.spec.data:
        for rate in grid.spec.rates:
            cells = [grid.cell(data, method, rate) for method in grid.spec.methods]
            both = [
                (sample.mean, cell.mean)
                for cell in cells
                if cell.n and not cell.random and (sample := published(paper).get((data, cell.method, rate)))
            ]
            if len(both) > 1:
                ours, theirs = zip(*both, strict=True)
                tau = float(stats.kendalltau(ours, theirs)[0])  # pyright: ignore
                found.append(Order(data, rate, len(both), None if math.isnan(tau) else tau))
    return tuple(found)


def _sample(cell: Cell) -> Sample | None:
    if cell.mean is None:
        return None
    return Sample(cell.mean, spread((accuracy for _, accuracy in cell.values), "sample"), cell.n)


def _gains(grid: Grid) -> dict[Place, Gain]:
    """The gain over fine-tune of every other cell that shares a unit with it."""
    found = {}
    for data in grid.spec.data if BASELINE in grid.spec.rows else ():
        for rate in grid.spec.rates:
            baseline = dict(grid.cell(data, BASELINE, rate).values)
            for method in grid.spec.rows:
                values = grid.cell(data, method, rate).values
                gains = [accuracy - baseline[unit] for unit, accuracy in values if unit in baseline]
                if gains and method != BASELINE:
                    found[data, method, rate] = Gain(math.fsum(gains) / len(gains), len(gains))
            found |= {(data, method, rate): gain for method, gain in _tested(grid, data, rate).items()}
    return found


def _tested(grid: Grid, data: str, rate: float) -> dict[str, Gain]:
    """Gains with the interval of the verdict, over the replicates of all methods; none from training seeds."""
    found = find_column(grid, data, rate)
    if grid.spec.unit != "replicate" or len(found.units) < 2:
        return {}
    pairs = [one for one in compare_all(found.column) if BASELINE in (one.first, one.second)]
    return {
        pair.first: Gain(pair.difference, len(found.units), (pair.low, pair.high) if pair.stderr else None)
        for pair in (one.over(BASELINE) for one in pairs)
    }
