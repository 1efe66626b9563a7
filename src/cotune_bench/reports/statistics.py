"""Which of several methods is best: paired differences over replicates, all pairs at once.

Pure functions of numpy arrays; docs/verdict.md explains the model and the simulation behind the choices.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import stats

LEVEL = 0.05  # familywise, over all pairs of a column; intervals cover 1 - LEVEL together
POWER = 0.8
LIMIT = 100_000  # replicates that nobody runs
#: Percentage points that equal differences may be apart as floating-point numbers; an image is far more.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Column:
    """Accuracies of several methods on the same replicates.

    Attributes:
        methods: M names.
        accuracies: (M, n) percent.
        correct: (M, n, N) bool, for test images that all replicates share; None where not recorded or not shared.
        test_to_train: number of test images over that of the other images of the pool, where every replicate draws
            its test images from one pool; 0 where they are shared.
    """

    methods: tuple[str, ...]
    accuracies: np.ndarray
    correct: np.ndarray | None = None
    test_to_train: float = 0.0

    @property
    def replicates(self) -> int:
        """The number n of replicates."""
        return self.accuracies.shape[1]

    @property
    def design(self) -> str:
        """``crossed`` with shared test images, ``resampled`` with drawn ones, ``fixed`` where only these count."""
        if self.correct is not None:
            return "crossed"
        return "resampled" if self.test_to_train else "fixed"

    @property
    def pairs(self) -> int:
        """Number of pairs of methods, over which the familywise level is divided."""
        return len(self.methods) * (len(self.methods) - 1) // 2


@dataclass(frozen=True)
class Components:
    """What makes a mean difference vary, in squared points.

    Attributes:
        replicate: variance between replicates, estimated with n - 1 degrees of freedom.
        images: variance of the mean that is due to the choice of the test images.
        overlap: how much of ``replicate`` stays in the mean because replicates share images, known rather than
            estimated.
    """

    replicate: float
    images: float = 0.0
    overlap: float = 0.0

    def variance(self, n: float) -> float:
        """Of the mean over n replicates; n may be infinite."""
        return self.replicate * (1 / n + self.overlap) + self.images

    def df(self, n: int) -> float:
        """Degrees of freedom of that variance.

        Satterthwaite's approximation as in Hillis (2007): hundreds of test images count as infinitely many.
        """
        return (n - 1) * (self.variance(n) / (self.variance(n) - self.images)) ** 2


@dataclass(frozen=True)
class Pair:
    """Mean difference of two methods in points of accuracy, the better one first.

    Interval and p value hold simultaneously over all pairs of the column. ``stderr`` is 0 where replicates do not
    differ; then nothing is shown: the interval is unbounded, p is 1.
    """

    first: str
    second: str
    difference: float
    stderr: float
    df: float
    low: float
    high: float
    p: float

    def over(self, method: str) -> "Pair":
        """The same pair with this method second, whichever is better."""
        if method == self.second:
            return self
        turned = {"difference": -self.difference, "low": -self.high, "high": -self.low}
        return replace(self, first=self.second, second=method, **turned)


def compare_all(column: Column, against: str | None = None) -> tuple[Pair, ...]:
    """Every pair of methods, or only those with ``against``, with Bonferroni's correction over these pairs.

    Raises ValueError with fewer than two replicates.
    """
    if column.replicates < 2:
        raise ValueError(f"{column.replicates} replicate has no spread: at least two are needed")
    names = column.methods
    pairs = [(a, b) for a, b in combinations(range(len(names)), 2) if against in (None, names[a], names[b])]
    return tuple(_pair(column, a, b, len(pairs)) for a, b in pairs)


def _pair(column: Column, a: int, b: int, pairs: int) -> Pair:
    means = column.accuracies.mean(axis=1)
    a, b = (a, b) if means[a] >= means[b] else (b, a)
    names, difference = (column.methods[a], column.methods[b]), float(means[a] - means[b])
    if difference < ROUNDING:
        difference = 0.0
    parts, n = components(column, a, b), column.replicates
    if not parts.replicate:
        bound = np.inf if difference or parts.images else 0.0
        return Pair(*names, difference, 0.0, n - 1, -bound, bound, 1.0)
    stderr, df = parts.variance(n) ** 0.5, parts.df(n)
    half = critical(df, pairs) * stderr
    p = min(1.0, pairs * 2 * float(stats.t.sf(difference / stderr, df)))
    return Pair(*names, difference, stderr, df, difference - half, difference + half, p)


def critical(df: float, pairs: int) -> float:
    """What |t| has to exceed in one of so many pairs at the familywise level (Bonferroni)."""
    return float(stats.t.isf(LEVEL / (2 * pairs), df))


def components(column: Column, a: int, b: int) -> Components:
    """Variance components of the difference of two methods, by their places in the column.

    - Shared test images: replicates and images are crossed random factors, and the variance of the mean is
      (MSR + MSI - MSE) / (n N) from the mean squares of replicates, images and residual (the balanced crossed mixed
      model; in radiology Obuchowski and Rockette, 1995, and Hillis, 2007). MSR is at least MSE, and so is MSI, as
      their expectations are.
    - Test images drawn by each replicate: (1 / n + test / train) s^2 (Nadeau and Bengio, 2003).
    - Otherwise s^2 / n: a statement about these very test images.
    """
    if column.correct is None:
        scatter = float(np.var(column.accuracies[a] - column.accuracies[b], ddof=1))
        scatter = scatter if scatter > ROUNDING**2 else 0.0
        return Components(scatter, overlap=column.test_to_train)
    differences = 100.0 * (column.correct[a].astype(np.int8) - column.correct[b].astype(np.int8))
    n, images = differences.shape
    replicate, image, residual = mean_squares(differences)
    return Components(max(replicate, residual) / images, max(image - residual, 0.0) / (n * images))


def mean_squares(values: np.ndarray) -> tuple[float, float, float]:
    """Mean squares of rows, columns and residual of an (n, N) table, as in a two-way analysis of variance."""
    n, images = values.shape
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    by_row, by_column = images * rows.var(ddof=1), n * columns.var(ddof=1)
    rest = ((values - values.mean()) ** 2).sum() - (n - 1) * by_row - (images - 1) * by_column
    return float(by_row), float(by_column), max(float(rest) / ((n - 1) * (images - 1)), 0.0)


# Which is best ------------------------------------------------------------------------------------------------------


def best_set(methods: Sequence[str], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """The methods that no other one beats at the familywise level, in the order given."""
    beaten = {pair.second for pair in pairs if pair.p < LEVEL}
    return tuple(method for method in methods if method not in beaten)


def replicates_needed(column: Column, points: float = 1.0) -> int | None:
    """Replicates with which a difference of ``points`` between members of the best set is found with POWER.

    Under the same correction as the verdict, by the mean components of their pairs: those of the pair that needs
    most are largely chance (docs/verdict.md). None if no number of replicates is enough, because the test images are
    too few: see :func:`least_difference`.
    """
    return enough_replicates(_undecided(column), column.pairs, points)


def enough_replicates(parts: Components, pairs: int, points: float = 1.0) -> int | None:
    """The fewest replicates, at least 2, that find a difference of ``points`` with POWER; None if none do."""
    enough = 2 + bisect_left(range(2, LIMIT), POWER, key=lambda n: power_at(parts, n, pairs, points))
    return enough if enough < LIMIT else None


def least_difference(column: Column) -> float:
    """Points that members of the best set must differ by to be found however many replicates there are."""
    quantiles = stats.norm.isf(LEVEL / (2 * column.pairs)) + stats.norm.ppf(POWER)
    return float(quantiles * _undecided(column).variance(np.inf) ** 0.5)


def power_at(parts: Components, n: int, pairs: int, points: float) -> float:
    """Probability that a true difference of ``points`` is found in its direction with n replicates."""
    if not parts.replicate:
        return 1.0
    df, shift = parts.df(n), points / parts.variance(n) ** 0.5
    return float(stats.nct.sf(critical(df, pairs), df, shift))


def mean_components(parts: Sequence[Components]) -> Components:
    """Of several pairs of one column."""
    replicate, images = np.mean([(one.replicate, one.images) for one in parts], axis=0).tolist()
    return Components(replicate, images, parts[0].overlap)


def _undecided(column: Column) -> Components:
    """Mean components of the pairs within the best set; nothing varies if it has one member."""
    best = [column.methods.index(one) for one in best_set(column.methods, compare_all(column))]
    return mean_components([components(column, *pair) for pair in combinations(best, 2)] or [Components(0.0)])
