"""The comparison with the paper: statistics against scipy.stats, verdicts by hand, the written files."""

import csv
import io
import math
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cotune_bench.errors import UserError
from cotune_bench.reports.compare import (
    Sample,
    compare,
    holm,
    kendall_tau_b,
    offsets,
    orders,
    paired,
    paper_table,
    published,
    tau_interval,
    tllib,
    welch,
)
from cotune_bench.reports.compare_tables import COLUMNS, compare_csv, compare_markdown, compare_texts, offset_rows
from cotune_bench.reports.grid import Grid, TableSpec, build_grid

METHODS = ("finetune", "bss", "cotuning", "stochnorm")


def table(
    accuracies: dict[tuple[str, float], list[float]],
    data: str = "cub",
    backbone: str = "resnet50",
    weights=None,
    protocol="paper",
) -> Grid:
    """A table of one data set from accuracies by (method, rate), seeds in order; NaN is a run that is missing."""
    rows = [
        {
            "weights": (weights or {}).get((method, rate), "imagenet"),
            "method": method,
            "rate": rate,
            "seed": seed,
            "accuracy": value,
            "key": f"{method}-{rate}-{seed}",
        }
        for (method, rate), values in accuracies.items()
        for seed, value in enumerate(values)
        if not math.isnan(value)
    ]
    usual = {"data": data, "backbone": backbone, "protocol": protocol, "torch": "2.15.0"}
    runs = pd.DataFrame(rows).assign(**usual, version="0.1.0", finished="2024-05-01T10:00:00+00:00")
    return build_grid(TableSpec("table2", "Table | 2", (data,), METHODS, (0.15, 1.0), (0, 1, 2)), runs)


TOY = {
    ("finetune", 0.15): [45.0, 45.3, 45.6],
    ("bss", 0.15): [47.0, 48.0, 49.0],
    ("cotuning", 0.15): [49.0, 49.5, 50.3],
    ("stochnorm", 0.15): [46.0, 46.5, 47.0],
    ("finetune", 1.0): [78.0, math.nan, math.nan],
    ("cotuning", 1.0): [80.0, 81.0, math.nan],
}


def place(grid: Grid, method: str, rate: float = 0.15):
    return next(one for one in compare(grid, "table2") if (one.cell.method, one.cell.rate) == (method, rate))


@pytest.mark.parametrize("seed", range(5))
def test_welch_agrees_with_scipy(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(60, 1, 3 + seed), rng.normal(61, 3, 4)
    found = welch(*(Sample(x.mean(), x.std(ddof=1), len(x)) for x in (a, b)))
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert found.df == pytest.approx(expected.df, rel=1e-10)
    assert found.mean / found.stderr == pytest.approx(expected.statistic, rel=1e-10)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()), rel=1e-9)


def test_welch_by_hand():
    found = welch(Sample(50.0, 3.0, 9), Sample(48.0, 4.0, 16))  # 9/9 + 16/16 = 2
    assert found.stderr == pytest.approx(math.sqrt(2))
    assert found.df == pytest.approx(4 / (1 / 8 + 1 / 15))


def test_no_spread_divides_nothing_by_zero():
    for theirs in (50.0, 51.0):
        found = welch(Sample(50.0, 0.0, 3), Sample(theirs, 0.0, 3))
        assert (found.mean, found.stderr, found.p, found.interval()) == (50.0 - theirs, 0.0, None, None)
    one_sided = welch(Sample(50.0, 0.0, 3), Sample(51.0, 1.0, 3))
    assert (one_sided.df, one_sided.stderr) == pytest.approx((2.0, 1 / math.sqrt(3)))
    assert welch(Sample(50.0, None, 1), Sample(51.0, 1.0, 3)).stderr is None


def test_paired_agrees_with_scipy_and_knows_its_limits():
    a, b = np.array([52.0, 53.5, 52.2, 54.0]), np.array([45.0, 46.0, 47.0, 46.5])
    found, expected = paired(list(a - b)), stats.ttest_rel(a, b)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()), rel=1e-9)
    assert paired([]) is None
    assert (paired([2.0]).mean, paired([2.0]).interval()) == (2.0, None)
    assert (paired([2.0, 2.0]).p, paired([2.0, 2.0]).interval()) == (None, None)
    images = [100 * 7 / 24 - 100 * 5 / 24, 100 * 6 / 24 - 100 * 4 / 24]  # two of 24, by other roundings
    assert images[0] != images[1]
    assert (paired(images).p, paired(images).interval()) == (None, None)


def test_holm_by_hand():
    # times 4, 3, 2, 1 from the smallest up, never falling
    assert holm([0.04, 0.01, None, 0.03, 0.02]) == pytest.approx([0.06, 0.04, None, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_rejects_what_the_step_down_rule_rejects():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = list(rng.uniform(0, 0.3, 6))
        adjusted = holm(values)
        for level in rng.uniform(0, 1, 20):
            ranked = sorted(values)
            stop = next((k for k, value in enumerate(ranked) if value > level / (6 - k)), 6)
            assert sorted(v for v, p in zip(values, adjusted, strict=True) if p <= level) == ranked[:stop]


def test_random_weights_are_never_set_against_published_numbers():
    grid = table(TOY, weights={("bss", 0.15): "random", ("cotuning", 1.0): "random"})
    one = place(grid, "bss")
    assert (one.verdict, one.difference, one.p_holm, one.paper.mean) == ("random weights", None, None, 47.74)
    first, *others = orders(grid, "table2")
    assert (first.methods, others) == (2, [])  # fine-tune and Co-Tuning at 15 %; at 100 % only one is left
    text = compare_markdown(grid, "table2")
    assert "Random weights, not pre-trained, in 5 of 15 runs of cub." in text.partition("| Data set")[0]
    row = next(line for line in text.splitlines() if "BSS" in line)
    assert [part.strip() for part in row.split("|")][8:-1] == ["–", "–", "–", "–", "random weights"]
    gains = [line for line in text.partition("## Gain")[2].splitlines() if line.startswith("| cub")]
    assert [line.split("|")[3].strip() for line in gains] == ["+7.33", "–"]
    unpublished = table(TOY, weights={("stochnorm", 0.15): "random"})
    assert place(unpublished, "stochnorm").verdict == "random weights"  # TLlib has published one


def test_tau_agrees_with_scipy_with_ties_and_in_batches():
    rng = np.random.default_rng(0)
    a, draws = rng.integers(0, 4, 6).astype(float), rng.integers(0, 4, (50, 6)).astype(float)
    expected = [stats.kendalltau(a, b).statistic for b in draws]
    assert kendall_tau_b(a, draws) == pytest.approx(np.array(expected), rel=1e-12)
    assert math.isnan(kendall_tau_b(a, np.ones(6)))


def test_tau_interval_agrees_with_a_loop_over_all_redraws():
    paper = np.array([1.0, 2.0, 3.0])
    ours = np.array([[1.0, 3.0], [2.0, 2.5], [3.0, 2.0]])  # seed 0 in the paper's order, seed 1 reversed
    assert tau_interval(paper, ours) == (-1.0, 1.0)
    assert tau_interval(paper, np.array([[1.0, 1.1], [2.0, 2.1], [3.0, 3.1]])) == (1.0, 1.0)
    assert tau_interval(paper, ours[:, :1]) is None
    assert tau_interval(paper, np.ones((3, 3))) is None
    noisy = np.random.default_rng(1).normal(paper[:, None], 1.5, (3, 5))
    rng = np.random.default_rng(0)
    taus = [stats.kendalltau(paper, noisy[:, pick].mean(1)).statistic for pick in rng.integers(5, size=(1000, 5))]
    assert tau_interval(paper, noisy) == pytest.approx(tuple(np.quantile(taus, [0.025, 0.975])))


def test_published_numbers_and_which_table():
    assert published("table2")["cub", "cotuning", 0.15] == Sample(52.58, 0.53, 3)
    assert (len(published("table2")), len(published("table3")), len(published("desk"))) == (60, 20, 0)
    assert tllib()["cub", "stochnorm", 0.15] == 54.8
    assert [paper_table("table3", None), paper_table("desk", None), paper_table("mine", "table2")] == [
        "table3",
        None,
        "table2",
    ]
    with pytest.raises(
        UserError, match="table mine: paper=table9 is unknown: choose table2, table3, or leave it out"
    ):
        paper_table("mine", "table9")


def test_verdicts_and_gains_by_hand():
    grid = table(TOY)
    assert place(grid, "finetune").verdict == "open"  # 45.30 ± 0.30 beside 45.25 ± 0.12
    assert place(grid, "cotuning").verdict == "differs"  # 49.60 ± 0.66 beside 52.58 ± 0.53
    assert place(grid, "finetune", 1.0).verdict == place(grid, "bss", 1.0).verdict == "not decidable"
    unpublished = place(grid, "stochnorm")
    assert (unpublished.verdict, unpublished.paper, unpublished.ours.mean) == ("", None, 46.5)
    one = place(grid, "cotuning")
    assert one.p_holm >= one.difference.p
    assert one.gain.mean == pytest.approx((4.0 + 4.2 + 4.7) / 3)
    assert (place(grid, "cotuning", 1.0).gain.mean, place(grid, "cotuning", 1.0).pairs) == (2.0, 1)
    assert place(grid, "finetune").gain is None


def test_the_std_shown_elsewhere_does_not_change_the_test():
    grid = table(TOY)
    assert place(grid, "bss").ours == Sample(48.0, 1.0, 3)
    tested = [one.difference.p for one in compare(grid, "table2") if one.difference and one.difference.p is not None]
    expected = stats.ttest_ind_from_stats(48.0, 1.0, 3, 47.74, 0.23, 3, equal_var=False).pvalue
    assert any(p == pytest.approx(expected) for p in tested)
    assert len(tested) == 4  # three at 15 %, and Co-Tuning with two seeds at 100 %


def test_a_method_that_lies_on_one_side_everywhere_is_told_though_no_cell_is():
    below = {("bss", 0.15): [47.0, 47.6, 47.9], ("bss", 1.0): [78.2, 78.5, 78.7]}  # paper: 47.74 and 78.85
    grid = table({**TOY, **below})
    assert {place(grid, "bss", rate).verdict for rate in (0.15, 1.0)} == {"open"}
    row = next(row for row in offset_rows(offsets(compare(grid, "table2"))) if row[0] == "BSS")
    # 47.5 - 47.74 = -0.24, 78.4667 - 78.85 = -0.3833: mean -0.31
    assert row == ["BSS", "2", "0", "2", "-0.31"]
    assert "| BSS" in compare_markdown(grid, "table2").partition("## Difference by method")[2]


def test_order_of_methods_counts_those_that_both_have():
    first, second = orders(table(TOY), "table2")
    assert (first.methods, first.seeds, first.tau, first.interval) == (3, 3, 1.0, (1.0, 1.0))
    assert (second.methods, second.seeds, second.tau, second.interval) == (2, 1, 1.0, None)
    swapped = {**TOY, ("cotuning", 0.15): [46.0, 46.0, 46.0]}
    assert orders(table(swapped), "table2")[0].tau == pytest.approx(1 / 3)  # of three pairs one is turned round


def test_markdown_tells_all_and_warns_of_another_backbone():
    text = compare_markdown(table(TOY), "table2")
    cells = [
        part.strip() for part in next(line for line in text.splitlines() if "Co-Tuning" in line).split("|")[4:-1]
    ]
    assert cells[:5] == ["52.58 ± 0.53", "57.6", "49.60 ± 0.66", "3", "-2.98 ± 0.49"]
    assert cells[-1] == "differs"
    assert "Table \\| 2: the paper beside ours" in text
    assert "that of 3 seeds, an assumption" in text.replace("\n", " ")
    assert "not the same experiment" not in text
    assert "Another backbone than the paper's in cub" in compare_markdown(table(TOY, backbone="resnet18"), "table2")
    changed = compare_markdown(table(TOY, protocol="paper (updates=27000)"), "table2")
    assert "Another protocol than paper in cub: not the same experiment." in changed
    assert "+7.33" in text.partition("## Gain")[2]  # 52.58 - 45.25


def test_every_rule_under_a_heading_is_one_even_without_numbers():
    grid = table({("finetune", 0.15): [45.0], ("cotuning", 0.15): [50.0]})
    lines = compare_markdown(grid, "table2").splitlines()
    rules = [line for line in lines if line.startswith("| -")]
    assert len(rules) == 4
    assert all(re.fullmatch(r" -+:? ", part) for rule in rules for part in rule.split("|")[1:-1])


def test_without_a_published_table_only_the_gain_is_shown():
    grid = table(TOY, data="digits", backbone="glyphnet")
    text = compare_markdown(grid, None)
    assert "Paper" not in text
    assert "tau" not in text
    assert "## Gain of Co-Tuning over Fine-tune" in text
    assert "+4.30" in text
    assert list(compare_texts(grid, None)) == ["table2-compare.md", "table2-compare.csv"]


def test_csv_keeps_every_bit_and_twice_changes_no_byte():
    grid = table(TOY)
    rows = list(csv.DictReader(io.StringIO(compare_csv(grid, "table2"))))
    assert len(rows) == len(grid.cells)
    assert tuple(rows[0]) == COLUMNS
    for row, one in zip(rows, compare(grid, "table2"), strict=True):
        assert row["verdict"] == one.verdict
        if one.p_holm is not None:
            assert float(row["p_holm"]) == one.p_holm
    assert compare_texts(grid, "table2") == compare_texts(table(TOY), "table2")


def test_an_empty_table_compares_nothing():
    grid = build_grid(TableSpec("table2", "T", ("cub",), METHODS, (0.15,), (0, 1, 2)), pd.DataFrame())
    assert {one.verdict for one in compare(grid, "table2")} == {"not decidable", ""}
    assert orders(grid, "table2") == ()
    assert "## Order" not in compare_markdown(grid, "table2")


def test_comparing_loads_no_heavy_library():
    code = "import sys, cotune_bench.reports.compare_tables as _; "
    code += "print({'torch', 'scipy.stats', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
