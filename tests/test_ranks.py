"""Average ranks, Friedman and Nemenyi against scipy.stats and by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cotune_bench.reports.figures.ranks import draw, rank_figures
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.ranks import (
    Ranks,
    average_ranks,
    critical_difference,
    friedman,
    grid_ranks,
    least_columns,
    studentized_range,
)

TIED = np.array([[90.0, 90.0, 80.0, 70.0], [60.0, 70.0, 50.0, 50.0], [30.0, 30.0, 30.0, 30.0], [4.0, 3.0, 2.0, 1.0]])


def toy(means: dict[str, list[float | None]]) -> Grid:
    """One run for each mean; columns are sampling rates."""
    count = max(map(len, means.values()))
    rates = tuple((place + 1) / count for place in range(count))
    rows = [
        {"method": method, "rate": rate, "accuracy": mean, "key": f"{method}-{rate}"}
        for method, column in means.items()
        for rate, mean in zip(rates, column, strict=False)
        if mean is not None
    ]
    usual = {"data": "a_b & <c>", "backbone": "glyphnet", "protocol": "desk", "weights": "glyphs", "torch": "2.15.0"}
    runs = pd.DataFrame(rows).assign(**usual, seed=0, version="0.1.0", finished="2024-05-01T10:00:00+00:00")
    return build_grid(TableSpec("toy", "Toy", ("a_b & <c>",), tuple(means), rates, (0,)), runs)


def test_ranks_and_friedman_agree_with_scipy_with_and_without_ties():
    untied = np.random.default_rng(0).normal(size=(12, 5))
    for accuracies in (TIED, untied):
        np.testing.assert_allclose(average_ranks(accuracies), stats.rankdata(-accuracies, axis=1).mean(axis=0))
        expected = stats.friedmanchisquare(*accuracies.T)
        assert friedman(accuracies) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)
    assert friedman(np.ones((4, 3))) == (None, None)


@pytest.mark.parametrize("count", [2, 5, 14])
def test_studentized_range_agrees_with_scipy(count):
    for level in (0.05, 0.1):
        assert studentized_range(count, level) == pytest.approx(
            stats.studentized_range.ppf(1 - level, count, np.inf), rel=1e-6
        )


def test_critical_difference_of_demsars_table():
    # Demšar, 2006: q = 2.569 for four classifiers; 14 data sets give 1.25
    assert critical_difference(4, 14) == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), rel=2e-4)
    assert least_columns(3) == 3  # 2.344 sqrt(2 / N) < 2
    assert least_columns(5) == 3


def test_ranks_of_a_grid_use_the_columns_that_all_methods_have():
    columns = {"finetune": [10, 20, 30, 40], "_mine": [50, 60, 70, 80], "bss": [1, 2, 3, None], "delta": []}
    ranks = grid_ranks(toy(columns))
    assert isinstance(ranks, Ranks)
    assert (ranks.methods, ranks.ranks) == (("_mine", "finetune", "bss"), (1.0, 2.0, 3.0))
    assert (ranks.columns, ranks.asked) == (3, 4)
    assert (ranks.statistic, ranks.p) == pytest.approx((6.0, np.exp(-3)))  # chi-square of two degrees of freedom
    assert ranks.critical == pytest.approx(2.344 * np.sqrt(2 / 3), rel=1e-3)  # 1.91: one place apart is no difference
    assert ranks.groups() == [(0, 1), (1, 2)]


def test_groups_are_the_largest():
    ranks = Ranks(tuple("abcde"), (1.0, 1.5, 3.0, 3.2, 5.0), 9, 9, 1.0, 0.5, 1.9)
    assert ranks.groups() == [(0, 1), (1, 3), (3, 4)]
    assert Ranks(("a", "b"), (1.0, 3.0), 9, 9, 1.0, 0.5, 1.9).groups() == []


def test_too_little_is_told_in_a_sentence():
    assert grid_ranks(toy({"finetune": [1, 2], "bss": [2, 3]})) == "Ranks need runs of at least 3 methods: 2 found."
    told = grid_ranks(toy({"finetune": [1, 2], "bss": [2, 3], "delta": [3, None]}))
    assert str(told).startswith("Ranks of 3 methods need at least 3 columns in which each has a run: 1 of 2 found")


def test_rank_plot_shows_every_method_at_its_rank():
    grid = toy({"finetune": [10, 20, 30, 40], "_mine": [50, 60, 70, 80], "bss": [1, 2, 3, 4]})
    ((named,), left_out) = rank_figures(grid, 5.5)
    assert left_out == []
    assert named.rows == (("Method", "Average rank"), ("_mine", "1.00"), ("Fine-tune", "2.00"), ("BSS", "3.00"))
    assert "4 columns" in named.caption
    ranks = grid_ranks(grid)
    assert isinstance(ranks, Ranks)
    (axes,) = draw(ranks, 5.5).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["_mine", "Fine-tune", "BSS"]
    markers = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() in ("o", "v", "*", "H", "1")]
    assert [[2.0, 1.0]] in markers
    ruler = next(line for line in axes.lines if line.get_marker() == "|")
    assert ruler.get_xdata() == pytest.approx([1.0, 1.0 + ranks.critical])


def test_all_tied_is_no_division_by_zero():
    ((named,), _) = rank_figures(toy({name: [50, 50, 50] for name in ("finetune", "bss", "delta")}), 5.5)
    assert "tied in every column" in named.caption
