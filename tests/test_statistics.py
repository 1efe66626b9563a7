"""Statistics of the verdict: numbers worked out independently, and scipy's tests as special cases."""

import math

import numpy as np
import pytest
from scipy import stats

from cotune_bench.reports.statistics import (
    Column,
    Components,
    best_set,
    compare_all,
    components,
    critical,
    least_difference,
    mean_squares,
    power_at,
    replicates_needed,
)


def column(correct: np.ndarray) -> Column:
    return Column(tuple("abcde"[: len(correct)]), 100 * correct.mean(axis=2), correct)


def random_correct(seed: int = 0, shape: tuple[int, ...] = (3, 6, 400), lead: float = 0.0) -> np.ndarray:
    """Images of different difficulty, method 0 with a ``lead`` in the latent score."""
    rng = np.random.default_rng(seed)
    levels = np.zeros((shape[0], 1, 1))
    levels[0] = lead
    images, replicates = 1.5 * rng.normal(size=shape[2]), 0.1 * rng.normal(size=(*shape[:2], 1))
    return 1.0 + levels + images + replicates + rng.normal(size=shape) > 0


def test_mean_squares_are_those_of_the_textbook():
    # rows (1, 2, 6), (3, 4, 8), means 3 and 5; columns 2, 3, 7; additive, so nothing is left
    values = np.array([[1.0, 2.0, 6.0], [3.0, 4.0, 8.0]])
    assert mean_squares(values) == pytest.approx((6.0, 14.0, 0.0))  # 3 (1 + 1) / 1; 2 (4 + 1 + 9) / 2
    # one cell raised by 6: residuals 6 (1/2)(2/3) = 2 and -2 in its column, 1 in the others: 12 / 2
    values[0, 0] += 6.0
    assert mean_squares(values) == pytest.approx((0.0, 2 * (0 + 4 + 4) / 2, 6.0))


def test_shared_test_images_make_two_crossed_random_factors():
    correct = random_correct()
    differences = 100.0 * (correct[0].astype(int) - correct[1].astype(int))
    n, images = differences.shape
    rows, columns, whole = differences.mean(1), differences.mean(0), differences.mean()
    replicate = images * ((rows - whole) ** 2).sum() / (n - 1)
    image = n * ((columns - whole) ** 2).sum() / (images - 1)
    residual = ((differences - rows[:, None] - columns + whole) ** 2).sum() / ((n - 1) * (images - 1))
    assert replicate > residual
    assert image > residual
    (pair,) = [one for one in compare_all(column(correct)) if {one.first, one.second} == {"a", "b"}]
    variance = (replicate + image - residual) / (n * images)
    df = (replicate + image - residual) ** 2 / (replicate**2 / (n - 1))  # Hillis, 2007
    assert abs(pair.difference) == pytest.approx(abs(whole))
    assert pair.stderr == pytest.approx(math.sqrt(variance))
    assert pair.df == pytest.approx(df)
    assert pair.p == pytest.approx(min(1.0, 3 * 2 * stats.t.sf(abs(whole) / math.sqrt(variance), df)))
    half = stats.t.ppf(1 - 0.05 / 6, df) * math.sqrt(variance)
    assert (pair.low, pair.high) == pytest.approx((pair.difference - half, pair.difference + half))


def test_mean_squares_below_the_residual_are_raised_to_it():
    # every image is right for a in one replicate and for b in the other: replicates and images differ by nothing
    first = np.array([[1, 0, 1, 0], [0, 1, 0, 1]], dtype=bool)
    found = components(column(np.array([first, ~first])), 0, 1)
    residual = mean_squares(100.0 * (first.astype(int) - (~first).astype(int)))[2]
    assert residual == pytest.approx(8 * 100.0**2 / 3)
    assert (found.replicate, found.images) == (pytest.approx(residual / 4), 0.0)


def test_two_methods_without_images_are_the_paired_t_test():
    a, b = np.array([52.0, 53.5, 52.2, 54.0]), np.array([45.0, 46.0, 47.0, 46.5])
    (pair,) = compare_all(Column(("b", "a"), np.array([b, a])))
    expected = stats.ttest_rel(a, b)
    assert (pair.first, pair.second) == ("a", "b")
    assert pair.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert (pair.low, pair.high) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-9)


def test_redrawn_test_images_are_corrected_as_nadeau_and_bengio_do():
    a, b = np.array([52.0, 53.5, 52.2, 54.0]), np.array([51.0, 53.0, 52.0, 53.0])
    (pair,) = compare_all(Column(("a", "b"), np.array([a, b]), test_to_train=0.25))
    variance = (1 / 4 + 0.25) * np.var(a - b, ddof=1)
    assert (pair.stderr, pair.df) == (pytest.approx(math.sqrt(variance)), pytest.approx(3.0))


def test_decisions_and_intervals_agree():
    for seed in range(20):
        for pair in compare_all(column(random_correct(seed, lead=0.1 * (seed % 5)))):
            assert (pair.p < 0.05) == (pair.low > 0)


def test_a_pair_seen_from_the_other_side():
    pair = compare_all(column(random_correct()))[0]
    assert pair.over(pair.second) is pair
    other = pair.over(pair.first)
    assert (other.first, other.second) == (pair.second, pair.first)
    assert (other.difference, other.low, other.high) == (-pair.difference, -pair.high, -pair.low)


def test_only_the_pairs_with_one_method_share_the_level():
    whole = column(random_correct())
    found = compare_all(whole, against="b")
    assert [{one.first, one.second} for one in found] == [{"a", "b"}, {"b", "c"}]
    assert found[0].high - found[0].difference == pytest.approx(critical(found[0].df, 2) * found[0].stderr)


def test_replicates_that_never_differ_show_nothing():
    same = np.array([[50.0, 51.0, 52.0], [48.0, 49.0, 50.0]])
    (pair,) = compare_all(Column(("a", "b"), same))
    assert (pair.difference, pair.stderr, pair.p, pair.low, pair.high) == (2.0, 0.0, 1.0, -math.inf, math.inf)
    images = np.array([[700 / 24, 600 / 24], [500 / 24, 400 / 24]])  # two of 24, by other roundings
    assert compare_all(Column(("a", "b"), images))[0].p == 1.0
    right = np.repeat(random_correct(shape=(2, 1, 50)), 3, axis=1)  # three times one world
    assert compare_all(column(right))[0].p == 1.0


def test_identical_methods_differ_by_nothing():
    right = random_correct(shape=(1, 4, 50)).repeat(2, axis=0)
    (pair,) = compare_all(column(right))
    assert (pair.difference, pair.low, pair.high, pair.p) == (0.0, 0.0, 0.0, 1.0)
    assert best_set(("a", "b"), [pair]) == ("a", "b")
    assert replicates_needed(column(right)) == 2


def test_one_replicate_or_one_method():
    with pytest.raises(ValueError, match="1 replicate has no spread"):
        compare_all(Column(("a", "b"), np.array([[1.0], [2.0]])))
    assert compare_all(Column(("a",), np.array([[1.0, 2.0]]))) == ()
    assert best_set(("a",), ()) == ("a",)


def test_the_best_set_is_what_nothing_beats():
    right = random_correct(lead=1.0)
    pairs = compare_all(column(right))
    assert best_set(("a", "b", "c"), pairs) == ("a",)
    assert best_set(("b", "c"), [one for one in pairs if "a" not in (one.first, one.second)]) == ("b", "c")


def test_power_is_that_of_simulated_t_tests():
    parts = Components(replicate=1.2)  # a paired t test with a standard deviation of sqrt(1.2)
    rng = np.random.default_rng(0)
    drawn = rng.normal(1.0, math.sqrt(1.2), size=(20_000, 10))
    found = stats.ttest_1samp(drawn, 0.0, axis=1)
    share = np.mean((found.pvalue < 0.05) & (found.statistic > 0))
    assert power_at(parts, 10, 1, 1.0) == pytest.approx(share, abs=0.01)


def test_replicates_needed_is_the_first_that_has_the_power():
    found = column(random_correct(shape=(3, 8, 900)))
    needed = replicates_needed(found, points=2.0)
    assert needed is not None
    pairs = [components(found, a, b) for a, b in ((0, 1), (0, 2), (1, 2))]
    mean = Components(np.mean([one.replicate for one in pairs]), np.mean([one.images for one in pairs]))
    assert power_at(mean, needed, 3, 2.0) >= 0.8 > power_at(mean, needed - 1, 3, 2.0)
    more = replicates_needed(found, points=1.5)
    assert more is None or more > needed


def test_no_number_of_replicates_makes_up_for_few_test_images():
    rng = np.random.default_rng(1)
    views = rng.normal(size=(2, 1, 60)) > -1.0  # each method has its own images that it cannot classify
    right = views ^ (rng.random((2, 8, 60)) < 0.02)
    found = column(right)
    assert replicates_needed(found, points=1.0) is None
    least = least_difference(found)
    assert least > 1.0
    assert least == pytest.approx((1.959964 + 0.841621) * math.sqrt(components(found, 0, 1).images), rel=1e-6)
    assert replicates_needed(found, points=1.05 * least) is not None
    redrawn = Column(("a", "b"), np.array([[50.0, 51.0, 52.0], [51.0, 51.0, 51.0]]), test_to_train=0.25)
    assert least_difference(redrawn) == pytest.approx((1.959964 + 0.841621) * math.sqrt(0.25 * 1.0), rel=1e-6)
