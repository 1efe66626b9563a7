"""Average ranks over data sets, Friedman and Nemenyi, and mean gains, worked out independently."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from toy import like_runs

from cotune_bench.reports.figures.ranks import draw, rank_figures
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.ranks import (
    Ranks,
    average_ranks,
    critical_difference,
    gain_sentence,
    grid_ranks,
    least_columns,
    set_means,
)


def toy(means: dict[str, list[float | None]], unit: str = "replicate") -> Grid:
    """Two rates and two replicates around each mean; the columns are data sets."""
    count = max(map(len, means.values()))
    sets = tuple(f"set {place}" for place in range(count))
    rows = [
        {"method": method, "data": data, "rate": rate, "seed": seed, "accuracy": mean + 4 * rate + 2 * seed - 4}
        for method, column in means.items()
        for data, mean in zip(sets, column, strict=False)
        if mean is not None
        for rate in (0.5, 1.0)
        for seed in (0, 1)
    ]
    runs = like_runs(rows, split_seed=lambda one: one["seed"])
    return build_grid(TableSpec("toy", "Toy", sets, tuple(means), (0.5, 1.0), (0, 1), unit), runs)


def test_ranks_share_ties():
    accuracies = np.array([[90.0, 60.0], [90.0, 70.0], [80.0, 50.0]])  # methods, data sets
    np.testing.assert_allclose(average_ranks(accuracies), [(1.5 + 2) / 2, (1.5 + 1) / 2, 3.0])


def test_critical_difference_of_demsars_table():
    # Demšar, 2006: q = 2.569 for four classifiers; 14 data sets give 1.25
    assert critical_difference(4, 14) == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), rel=2e-4)
    assert least_columns(3) == 3  # 2.344 sqrt(2 / N) < 2
    assert least_columns(5) == 3


def test_a_data_set_counts_once_with_its_mean_over_rates_and_replicates():
    means = set_means(toy({"finetune": [10, 20], "bss": [12, 18], "delta": [None, 5]}))
    assert means.methods == ("finetune", "bss", "delta")
    np.testing.assert_allclose(means.accuracies, [[20.0], [18.0], [5.0]])  # the first set lacks DELTA


def test_ranks_of_a_grid_use_the_data_sets_that_all_methods_have():
    grid = toy({"finetune": [10, 20, 30, 40], "_mine": [50, 60, 70, 80], "bss": [4, 5, 6, None], "delta": []})
    ranks = grid_ranks(grid)
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


def test_too_little_is_said_in_a_sentence():
    assert grid_ranks(toy({"finetune": [5, 6], "bss": [6, 7]})) == "Ranks need runs of at least 3 methods: 2 found."
    few = {"finetune": [10, 20], "bss": [20, 30], "delta": [30, None]}
    assert str(grid_ranks(toy(few))).startswith(
        "Ranks of 3 methods need at least 3 data sets with replicates of each"
    )
    assert "1 of 2 found" in str(grid_ranks(toy(few)))
    seeds = toy({"finetune": [5, 6, 7], "bss": [6, 7, 8], "delta": [7, 8, 9]}, "seed")
    assert grid_ranks(seeds) == "Ranks need replicates: training seeds share one split."
    assert gain_sentence(seeds) == ""


def test_gains_are_tested_with_data_sets_as_units():
    grid = toy({"finetune": [10, 20, 30, 40], "bss": [11, 21, 32, 42], "cotuning": [9, 23, 31, 44]})
    gains = np.array([1.0, 1.0, 2.0, 2.0])
    half = stats.t.ppf(1 - 0.05 / 4, 3) * gains.std(ddof=1) / 2  # two methods against fine-tune
    sentence = gain_sentence(grid)
    assert sentence.startswith("Mean gain over Fine-tune in points, with the 4 data sets as units (paired t, simul")
    assert f"BSS +1.5 [{1.5 - half:+.1f}, {1.5 + half:+.1f}], Co-Tuning +1.8 [" in sentence
    worse = toy({"cotuning": [9, 18, 29], "finetune": [10, 20, 30]})
    assert "Co-Tuning -1.3 [" in gain_sentence(worse)
    assert gain_sentence(toy({"finetune": [10], "bss": [11]})) == ""


def test_rank_plot_shows_every_method_at_its_rank():
    grid = toy({"finetune": [10, 20, 30, 40], "_mine": [50, 60, 70, 80], "bss": [4, 5, 6, 7]})
    ((named,), left_out) = rank_figures(grid)
    assert left_out == []
    assert named.rows == (("Method", "Average rank"), ("_mine", "1.00"), ("Fine-tune", "2.00"), ("BSS", "3.00"))
    assert "over 4 data sets" in named.caption
    ranks = grid_ranks(grid)
    assert isinstance(ranks, Ranks)
    (axes,) = draw(ranks).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["_mine", "Fine-tune", "BSS"]
    markers = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() in ("o", "v", "*", "H", "1")]
    assert [[2.0, 1.0]] in markers
    ruler = next(line for line in axes.lines if line.get_marker() == "|")
    assert ruler.get_xdata() == pytest.approx([1.0, 1.0 + ranks.critical])


def test_all_tied_is_no_division_by_zero():
    ((named,), _) = rank_figures(toy({name: [50, 50, 50] for name in ("finetune", "bss", "delta")}))
    assert "tied in every data set" in named.caption


def test_baselines_are_not_ranked():
    grid = toy({"finetune": [10, 20, 30], "bss": [11, 21, 31], "delta": [12, 22, 32], "svm": [9, 9, 9]})
    spec = dataclasses.replace(grid.spec, methods=grid.spec.methods[:3], baselines=("svm",))
    ranks = grid_ranks(dataclasses.replace(grid, spec=spec))
    assert isinstance(ranks, Ranks)
    assert ranks.methods == ("delta", "bss", "finetune")
