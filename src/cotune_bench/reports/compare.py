"""The paper beside ours: what differs, by cell and by method, the order of the methods, what Co-Tuning gains.

Nothing here needs scipy.stats, whose import alone takes longer than all tables.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.special import stdtr, stdtrit

from cotune_bench.errors import UserError
from cotune_bench.reports.grid import Cell, Grid, Place, spread

PAPER = Path(__file__).parents[1] / "paper"
PAPER_SEEDS = 3  # behind the paper's std: an assumption
LEVEL = 0.05  # of tests; intervals cover 1 - LEVEL
DRAWS = 1000  # of the bootstrap
BASELINE, CHALLENGER = "finetune", "cotuning"
#: Percentage points that equal differences may be apart as floating-point numbers; an image is far more.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Sample:
    """Mean, sample std (None if n < 2) and size of several accuracies in percent."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Of two means: ours less the paper's, or one method less another on the same seeds.

    ``stderr``, ``df`` and the two-sided ``p`` are None where no spread is known, ``p`` also where it is 0: a
    few seeds often differ by the same number of images, which proves nothing.
    """

    mean: float
    stderr: float | None = None
    df: float | None = None
    p: float | None = None

    def interval(self) -> tuple[float, float] | None:
        """Bounds of the 95 % t interval, where there is a spread."""
        if not self.stderr or self.df is None:
            return None
        half = float(stdtrit(self.df, 1 - LEVEL / 2)) * self.stderr
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Comparison:
    """One cell: the paper's value and ours, their difference, the p value after Holm, and the gain over fine-tune."""

    cell: Cell
    paper: Sample | None
    ours: Sample | None
    difference: Difference | None
    p_holm: float | None
    gain: Difference | None
    pairs: int  # seeds behind the gain

    @property
    def verdict(self) -> str:
        """``differs``, ``open`` (no difference shown), ``not decidable``, or nothing without a paper value.

        ``random weights`` wherever a run had no pre-trained ones, which nobody published.
        """
        if self.cell.random:
            return "random weights"
        if self.paper is None:
            return ""
        if self.p_holm is None:
            return "not decidable"
        return "differs" if self.p_holm < LEVEL else "open"


@dataclass(frozen=True)
class Order:
    """Kendall's tau-b between the paper's order of methods and ours in one column, with a bootstrap interval."""

    data: str
    rate: float
    methods: int
    seeds: int  # those that every method of the column has
    tau: float | None
    interval: tuple[float, float] | None


# Statistics -------------------------------------------------------------------------------------------------------


def welch(ours: Sample, paper: Sample) -> Difference:
    """Welch's t test of two means with unequal variances, with its fractional degrees of freedom (Welch, 1947)."""
    mean = ours.mean - paper.mean
    if ours.std is None or paper.std is None:
        return Difference(mean)
    a, b = ours.std**2 / ours.n, paper.std**2 / paper.n
    if a + b == 0:
        return Difference(mean, stderr=0.0)
    df = (a + b) ** 2 / (a**2 / (ours.n - 1) + b**2 / (paper.n - 1))
    return _tested(mean, math.sqrt(a + b), df)


def paired(differences: Sequence[float]) -> Difference | None:
    """Paired t test of differences on the same seeds; None without any."""
    if not differences:
        return None
    mean, n = math.fsum(differences) / len(differences), len(differences)
    std = spread(differences, "sample")
    if std is None:
        return Difference(mean)
    return _tested(mean, std / math.sqrt(n), n - 1)


def _tested(mean: float, stderr: float, df: float) -> Difference:
    if stderr < ROUNDING:
        stderr = 0.0
    p = None if stderr == 0 else float(2 * stdtr(df, -abs(mean / stderr)))
    return Difference(mean, stderr, df, p)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted for their number by Holm's step-down rule (Holm, 1979); None stays and does not count."""
    adjusted: list[float | None] = [None] * len(values)
    ranked = sorted((value, place) for place, value in enumerate(values) if value is not None)
    highest = 0.0
    for rank, (value, place) in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - rank) * value))
        adjusted[place] = highest
    return adjusted


def kendall_tau_b(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Tau-b of (M,) or (draws, M) values, with ties (Kendall, 1945); NaN where one side is all tied."""
    first, second = (np.sign(side[..., :, None] - side[..., None, :]) for side in (a, b))
    norm = np.sqrt((first**2).sum((-2, -1)) * (second**2).sum((-2, -1)))
    return (first * second).sum((-2, -1)) / np.where(norm > 0, norm, np.nan)


def tau_interval(paper: np.ndarray, accuracies: np.ndarray, draws: int = DRAWS) -> tuple[float, float] | None:
    """Percentile interval of tau-b between (M,) published means and means over redrawn columns of (M, seeds).

    All methods are redrawn with the same seeds, as they shared samples. None with fewer than two seeds, or if no
    draw has an order.
    """
    seeds = accuracies.shape[1]
    if seeds < 2:
        return None
    picks = np.random.default_rng(0).integers(seeds, size=(draws, seeds))
    means = np.round(accuracies[:, picks].mean(2).T, 9)  # sums of equal numbers stay equal in any order
    taus = kendall_tau_b(paper, means)
    taus = taus[np.isfinite(taus)]
    if not len(taus):
        return None
    low, high = np.quantile(taus, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


# From files and grids ---------------------------------------------------------------------------------------------


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
    """Every cell of a grid against the published table, if there is one; Holm's correction is over all tested cells.

    Cells with random weights have neither a difference from the paper nor a test.
    """
    cells = [
        (cell, published(paper).get((cell.data, cell.method, cell.rate)) if paper else None) for cell in grid.cells
    ]
    samples = [_sample(cell) for cell in grid.cells]
    differences = [
        welch(ours, theirs) if ours and theirs and not cell.random else None
        for ours, (cell, theirs) in zip(samples, cells, strict=True)
    ]
    corrected = holm([difference and difference.p for difference in differences])
    gains = [_gains(grid, cell) for cell in grid.cells]
    return tuple(
        Comparison(cell, theirs, ours, difference, p, paired(gain), len(gain))
        for (cell, theirs), ours, difference, p, gain in zip(
            cells, samples, differences, corrected, gains, strict=True
        )
    )


def offsets(comparisons: Sequence[Comparison]) -> dict[str, list[float]]:
    """Ours less the paper's in points, for each method in all cells with both values; no method without any."""
    found: dict[str, list[float]] = {}
    for one in comparisons:
        if one.difference:
            found.setdefault(one.cell.method, []).append(one.difference.mean)
    return found


def orders(grid: Grid, paper: str) -> tuple[Order, ...]:
    """Agreement in the order of methods for every column in which two or more methods have both values.

    Cells with random weights are left out.
    """
    found = []
    for data in grid.spec.data:
        for rate in grid.spec.rates:
            column = [grid.cell(data, method, rate) for method in grid.spec.methods]
            theirs = {cell.method: published(paper).get((data, cell.method, rate)) for cell in column}
            both = [
                (cell, sample) for cell in column if cell.n and not cell.random and (sample := theirs[cell.method])
            ]
            if len(both) > 1:
                found.append(_order(data, rate, [cell for cell, _ in both], [sample.mean for _, sample in both]))
    return tuple(found)


def _order(data: str, rate: float, cells: list[Cell], means: list[float]) -> Order:
    runs = [dict(cell.values) for cell in cells]
    shared = [seed for seed in runs[0] if all(seed in other for other in runs)]
    accuracies = np.array([[run[seed] for seed in shared] for run in runs]).reshape(len(runs), len(shared))
    tau = float(kendall_tau_b(np.array(means), np.array([cell.mean for cell in cells])))
    interval = tau_interval(np.array(means), accuracies)
    return Order(data, rate, len(cells), len(shared), None if math.isnan(tau) else tau, interval)


def _sample(cell: Cell) -> Sample | None:
    if cell.mean is None:
        return None
    return Sample(cell.mean, spread((accuracy for _, accuracy in cell.values), "sample"), cell.n)


def _gains(grid: Grid, cell: Cell) -> list[float]:
    if BASELINE not in grid.spec.methods or cell.method == BASELINE:
        return []
    baseline = dict(grid.cell(cell.data, BASELINE, cell.rate).values)
    return [accuracy - baseline[seed] for seed, accuracy in cell.values if seed in baseline]
