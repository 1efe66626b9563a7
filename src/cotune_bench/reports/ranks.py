"""Average ranks of the methods over all columns of a table, Friedman's test and Nemenyi's critical difference.

Demšar: Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006. Nothing here needs scipy.stats,
whose import alone takes longer than all tables.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import chdtrc, ndtr

from cotune_bench.reports.compare import LEVEL
from cotune_bench.reports.grid import DECIMALS, Grid

LEAST_METHODS = 3  # with two, the paired gain says more


@dataclass(frozen=True)
class Ranks:
    """Average ranks over columns, 1 the most accurate, best first.

    Attributes:
        methods, ranks: names, and the average rank of each.
        columns: number of data sets times rates that are counted, of ``asked``.
        statistic, p: of Friedman's test (chi-square with ties); None if every column is all tied.
        critical: Nemenyi's difference at LEVEL; methods whose average ranks differ by less are not told apart.
    """

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    columns: int
    asked: int
    statistic: float | None
    p: float | None
    critical: float

    def groups(self) -> list[tuple[int, int]]:
        """Largest runs of methods, as first and last place, that are not told apart."""
        found: list[tuple[int, int]] = []
        for first, rank in enumerate(self.ranks):
            last = max(place for place, other in enumerate(self.ranks) if other - rank < self.critical)
            if last > first and (not found or last > found[-1][1]):
                found.append((first, last))
        return found


def grid_ranks(grid: Grid) -> Ranks | str:
    """Ranks of all methods that have runs over the columns where each has, or why there are none, in one sentence."""
    methods = [method for method in grid.spec.methods if any(c.n for c in grid.cells if c.method == method)]
    if len(methods) < LEAST_METHODS:
        return f"Ranks need runs of at least {LEAST_METHODS} methods: {len(methods)} found."
    columns = []
    for data in grid.spec.data:
        for rate in grid.spec.rates:
            means = [grid.cell(data, method, rate).mean for method in methods]
            if all(mean is not None for mean in means):
                columns.append([round(mean, DECIMALS) for mean in means if mean is not None])
    asked = len(grid.spec.data) * len(grid.spec.rates)
    least = least_columns(len(methods))
    if len(columns) < least:
        return (
            f"Ranks of {len(methods)} methods need at least {least} columns in which each has a run: "
            f"{len(columns)} of {asked} found; with fewer, not even the first and the last could be told apart."
        )
    accuracies = np.array(columns)
    averages = average_ranks(accuracies)
    order = np.argsort(averages, kind="stable")
    statistic, p = friedman(accuracies)
    return Ranks(
        methods=tuple(methods[place] for place in order),
        ranks=tuple(float(averages[place]) for place in order),
        columns=len(columns),
        asked=asked,
        statistic=statistic,
        p=p,
        critical=critical_difference(len(methods), len(columns)),
    )


def average_ranks(accuracies: np.ndarray) -> np.ndarray:
    """(M,) average ranks of (columns, M) accuracies, 1 for the highest; ties share the mean of their ranks."""
    return _ranks(accuracies).mean(axis=0)


def friedman(accuracies: np.ndarray) -> tuple[float | None, float | None]:
    """Friedman's chi-square of (columns, M) accuracies, corrected for ties, and its p value; None if all are tied."""
    columns, count = accuracies.shape
    ranks = _ranks(accuracies)
    spread = ((ranks - (count + 1) / 2) ** 2).sum() / (columns * (count - 1))
    if spread == 0:
        return None, None
    statistic = float(columns * ((ranks.mean(axis=0) - (count + 1) / 2) ** 2).sum() / spread)
    return statistic, float(chdtrc(count - 1, statistic))


def critical_difference(methods: int, columns: int, level: float = LEVEL) -> float:
    """Nemenyi's q sqrt(M (M + 1) / (6 columns)) with q the studentised range over sqrt 2: of average ranks."""
    return studentized_range(methods, level) * math.sqrt(methods * (methods + 1) / (12 * columns))


def studentized_range(count: int, level: float) -> float:
    """What the range of ``count`` independent standard normal numbers exceeds with probability ``level``."""

    def below(size: float) -> float:
        def density(low: float) -> float:
            within = ndtr(low + size) - ndtr(low)
            return math.exp(-low * low / 2) / math.sqrt(2 * math.pi) * within ** (count - 1)

        return count * quad(density, -8 - size, 8, epsabs=1e-12, limit=200)[0]

    return float(brentq(lambda size: below(size) - (1 - level), 0.01, 20.0, xtol=1e-10))  # pyright: ignore


def least_columns(methods: int) -> int:
    """The fewest columns with which a method that is always first differs from one that is always last."""
    needed = 1
    while critical_difference(methods, needed) >= methods - 1:
        needed += 1
    return needed


def _ranks(accuracies: np.ndarray) -> np.ndarray:
    higher = (accuracies[:, None, :] > accuracies[:, :, None]).sum(axis=2)
    equal = (accuracies[:, None, :] == accuracies[:, :, None]).sum(axis=2)
    return higher + (equal + 1) / 2
