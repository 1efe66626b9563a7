"""Methods over the data sets of a table: average ranks with Nemenyi's critical difference, and mean gains.

The unit is the data set, with the mean accuracy over the table's rates: rates of one data set share their test
images. Demšar: Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from cotune_bench.reports.columns import find_column
from cotune_bench.reports.grid import DECIMALS, Grid
from cotune_bench.reports.published import BASELINE
from cotune_bench.reports.statistics import LEVEL, Column, compare_all
from cotune_bench.reports.tables import display_name
from cotune_bench.reports.verdict import interval_text

LEAST_METHODS = 3  # with two, the paired gain says more


@dataclass(frozen=True)
class Ranks:
    """Average ranks over data sets, 1 the most accurate, best first.

    Attributes:
        methods, ranks: names, and the average rank of each.
        columns: number of data sets that are counted, of ``asked``.
        statistic, p: of Friedman's test (chi-square with ties); None if every data set is all tied.
        critical: Nemenyi's difference at LEVEL; methods whose average ranks differ by less are not distinguished.
    """

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    columns: int
    asked: int
    statistic: float | None
    p: float | None
    critical: float

    def groups(self) -> list[tuple[int, int]]:
        """Largest runs of methods, as first and last place, that are not distinguished."""
        found: list[tuple[int, int]] = []
        for first, rank in enumerate(self.ranks):
            last = max(place for place, other in enumerate(self.ranks) if other - rank < self.critical)
            if last > first and (not found or last > found[-1][1]):
                found.append((first, last))
        return found


def set_means(grid: Grid) -> Column:
    """Accuracies with data sets in the place of replicates: those with replicates of every method at every rate.

    A data set's value is the mean over the rates, of each the mean over the replicates that all methods have.
    """
    methods = tuple(method for method in grid.spec.methods if any(c.n for c in grid.cells if c.method == method))
    found = []
    for data in grid.spec.data if grid.spec.unit == "replicate" else ():
        columns = [find_column(grid, data, rate, methods) for rate in grid.spec.rates]
        if all(one.units and one.methods == methods for one in columns):
            found.append(np.mean([one.column.accuracies.mean(axis=1) for one in columns], axis=0))
    return Column(methods, np.array(found).reshape(len(found), len(methods)).T)


def grid_ranks(grid: Grid) -> Ranks | str:
    """Ranks of all methods that have runs over the data sets where each has, or a sentence on what is missing."""
    if grid.spec.unit == "seed":
        return "Ranks need replicates: training seeds share one split."
    means = set_means(grid)
    count, sets = means.accuracies.shape
    if count < LEAST_METHODS:
        return f"Ranks need runs of at least {LEAST_METHODS} methods: {count} found."
    if sets < (least := least_columns(count)):
        return (
            f"Ranks of {count} methods need at least {least} data sets with replicates of each at every rate: "
            f"{sets} of {len(grid.spec.data)} found; with fewer, even the first and the last cannot be distinguished."
        )
    accuracies = np.round(means.accuracies, DECIMALS)
    averages = average_ranks(accuracies)
    order = np.argsort(averages, kind="stable")
    tied = (accuracies == accuracies[0]).all()
    test = None if tied else stats.friedmanchisquare(*accuracies)
    return Ranks(
        methods=tuple(means.methods[place] for place in order),
        ranks=tuple(float(averages[place]) for place in order),
        columns=sets,
        asked=len(grid.spec.data),
        statistic=None if test is None else float(test.statistic),
        p=None if test is None else float(test.pvalue),
        critical=critical_difference(count, sets),
    )


def average_ranks(accuracies: np.ndarray) -> np.ndarray:
    """(M,) average ranks of (M, data sets) accuracies, 1 for the highest; ties share the mean of their ranks."""
    return stats.rankdata(-accuracies, axis=0).mean(axis=1)


def critical_difference(methods: int, sets: int) -> float:
    """Nemenyi's q sqrt(M (M + 1) / (6 sets)) with q the studentised range over sqrt 2: of average ranks."""
    quantile = float(stats.studentized_range.isf(LEVEL, methods, np.inf))
    return quantile * (methods * (methods + 1) / (12 * sets)) ** 0.5


def least_columns(methods: int) -> int:
    """The fewest data sets with which a method that is always first differs from one that is always last."""
    return 1 + int((critical_difference(methods, 1) / (methods - 1)) ** 2)


def gain_sentence(grid: Grid) -> str:
    """Mean gains over fine-tune across data sets, or nothing with fewer than two data sets."""
    means = set_means(grid)
    if means.replicates < 2 or BASELINE not in means.methods or len(means.methods) < 2:
        return ""
    parts = []
    for pair in (one.over(BASELINE) for one in compare_all(means, against=BASELINE)):
        bounds = f" {interval_text(pair)}" if pair.stderr else ""
        parts.append(f"{display_name(pair.first)} {pair.difference:+.1f}{bounds}")
    return (
        f"Mean gain over {display_name(BASELINE)} in points, with the {means.replicates} data sets as units "
        f"(paired t, simultaneous 95 % intervals): {', '.join(parts)}."
    )
