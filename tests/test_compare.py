"""The comparison with the paper as description: values worked out independently, the written files."""

import math

import pandas as pd
import pytest
from toy import like_runs

from cotune_bench.config.tables import load_table
from cotune_bench.errors import UserError
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.published import (
    compare,
    compare_markdown,
    compare_texts,
    listings,
    orders,
    paper_table,
    published,
    tllib,
)

METHODS = ("finetune", "bss", "cotuning", "stochnorm")


def table(accuracies: dict[tuple[str, float], list[float]], unit: str = "seed", weights=None, **changes: str) -> Grid:
    """A table of one data set from accuracies by (method, rate), seeds in order; NaN is a run that is missing."""
    rows = [
        {"method": method, "rate": rate, "seed": seed, "accuracy": value}
        | {"weights": (weights or {}).get((method, rate), "imagenet"), "split_seed": seed * (unit == "replicate")}
        for (method, rate), values in accuracies.items()
        for seed, value in enumerate(values)
        if not math.isnan(value)
    ]
    usual = {"data": "cub", "backbone": "resnet50", "protocol": "paper"} | changes
    spec = TableSpec("table2", "Table | 2", (usual["data"],), METHODS, (0.15, 1.0), (0, 1, 2), unit)
    return build_grid(spec, like_runs(rows, **usual))


TOY = {
    ("finetune", 0.15): [45.0, 45.3, 45.6],
    ("bss", 0.15): [47.0, 48.0, 49.0],
    ("cotuning", 0.15): [49.0, 49.5, 50.3],
    ("stochnorm", 0.15): [46.0, 46.5, 47.0],
    ("finetune", 1.0): [78.0, math.nan, math.nan],
    ("cotuning", 1.0): [80.0, 81.0, math.nan],
}


def place(grid: Grid, method: str, rate: float = 0.15) -> dict:
    return next(one for one in compare(grid, "table2") if (one["method"], one["rate"]) == (method, rate))


def order(accuracies: dict[tuple[str, float], list[float]], **changes) -> list[tuple[int, float]]:
    grid = table(accuracies, **changes)
    return [(one["methods"], one["tau_b"]) for one in orders(grid, compare(grid, "table2"))]


def test_random_weights_are_never_set_against_published_numbers():
    weights = {("bss", 0.15): "random", ("cotuning", 1.0): "random"}
    grid = table(TOY, weights=weights)
    assert (place(grid, "bss")["difference"], place(grid, "bss")["paper_mean"]) == (None, 47.74)
    assert order(TOY, weights=weights) == [(2, 1.0)]  # fine-tune and Co-Tuning at 15 %; at 100 % only one is left
    text = compare_markdown(grid, "table2")
    assert "Random weights, not pre-trained, in 5 of 15 runs of cub." in text.partition("| Data set")[0]
    row = next(line for line in text.splitlines() if "BSS" in line)
    assert [part.strip() for part in row.split("|")][8:-1] == ["random weights"]
    gains = [line for line in text.partition("## Gain")[2].splitlines() if line.startswith("| cub")]
    assert [line.split("|")[3].strip() for line in gains] == ["+7.33", "–"]


def test_published_numbers_and_which_table():
    assert published("table2")["cub", "cotuning", 0.15] == (52.58, 0.53)
    assert (len(published("table2")), len(published("table3")), len(published("desk"))) == (60, 20, 0)
    assert tllib()["cub", "stochnorm", 0.15] == 54.8
    asked = (("table3", None), ("desk", None), ("mine", "table2"))
    assert [paper_table(*one) for one in asked] == ["table3", None, "table2"]
    with pytest.raises(
        UserError,
        match="table mine: paper=table9 is unknown: choose spottune, table2, table3, zootuning, or leave it out",
    ):
        paper_table("mine", "table9")


def test_differences_and_gains():
    grid = table(TOY)
    assert place(grid, "finetune")["difference"] == pytest.approx(0.05)  # 45.30 beside 45.25
    assert place(grid, "finetune")["gain"] is None
    assert place(grid, "bss", 1.0)["difference"] is None
    assert {name: place(grid, "stochnorm")[name] for name in ("difference", "paper_mean", "mean", "std")} == {
        "difference": None,
        "paper_mean": None,
        "mean": 46.5,
        "std": 0.5,
    }
    one, few = place(grid, "cotuning"), place(grid, "cotuning", 1.0)
    assert one["difference"] == pytest.approx(-2.98)  # 49.60 beside 52.58
    assert one["gain"] == pytest.approx((4.0 + 4.2 + 4.7) / 3)
    assert (few["gain"], few["gain_units"]) == (2.0, 1)


def test_only_replicates_give_an_interval():
    def gain(cell: dict) -> tuple:
        return cell["gain_low"], cell["gain"], cell["gain_high"]

    grid = table(TOY, unit="replicate")
    assert place(table(TOY), "cotuning")["gain_low"] is None
    gains = [4.0, 4.2, 4.7]  # paired t, one of six pairs: t(2) at 1 - 0.05 / 12 is 10.886
    half = 10.8859 * pd.Series(gains).std() / 3**0.5
    assert gain(place(grid, "cotuning")) == pytest.approx((4.3 - half, 4.3, 4.3 + half), rel=1e-4)
    assert place(grid, "cotuning", 1.0)["gain_low"] is None  # one replicate of both
    low, below, high = gain(place(table({**TOY, ("bss", 0.15): [44.0, 44.3, 44.1]}, unit="replicate"), "bss"))
    assert below == pytest.approx(-3.5 / 3)
    assert low < below < high


def test_offsets_by_method():
    below = {("bss", 0.15): [47.0, 47.6, 47.9], ("bss", 1.0): [78.2, 78.5, 78.7]}  # paper: 47.74 and 78.85
    rows = next(rows for title, rows, _ in listings(table({**TOY, **below}), "table2") if "by method" in title)
    # 47.5 - 47.74 = -0.24, 78.4667 - 78.85 = -0.3833: mean -0.31
    assert ["BSS", "2", "0", "2", "-0.31"] in rows


def test_order_of_methods_counts_those_that_both_have():
    assert order(TOY) == [(3, pytest.approx(1.0)), (2, pytest.approx(1.0))]
    swapped = {**TOY, ("cotuning", 0.15): [46.0, 46.0, 46.0]}
    assert order(swapped)[0][1] == pytest.approx(1 / 3)  # of three pairs one is turned round
    assert order({("finetune", 0.15): [45.0], ("bss", 0.15): [45.0]}) == [(2, None)]


def test_markdown_contains_all_and_warns_of_another_backbone():
    text = compare_markdown(table(TOY), "table2")
    cells = [
        part.strip() for part in next(line for line in text.splitlines() if "Co-Tuning" in line).split("|")[4:-1]
    ]
    assert cells == ["52.58 ± 0.53", "57.6", "49.60 ± 0.66", "3", "-2.98"]
    assert not any(word in text for word in ("p value", "95 %", "Holm", "Verdict", "p ="))
    assert "Table \\| 2: the paper beside ours" in text
    assert "that of 3 seeds, an assumption" in text.replace("\n", " ")
    assert "not the same experiment" not in text
    assert "Another backbone than the paper's in cub" in compare_markdown(table(TOY, backbone="resnet18"), "table2")
    changed = compare_markdown(table(TOY, protocol="paper (updates=27000)"), "table2")
    assert "Another protocol than paper in cub: not the same experiment." in changed
    assert "+7.33" in text.partition("## Gain")[2]  # 52.58 - 45.25


def test_without_a_published_table_only_the_gain_is_shown():
    grid = table(TOY, data="digits", backbone="glyphnet")
    text = compare_markdown(grid, None)
    assert "Paper" not in text
    assert "tau" not in text
    assert "## Gain of Co-Tuning over Fine-tune" in text
    assert "+4.30" in text
    assert list(compare_texts(grid, None)) == ["table2-compare.md", "table2-compare.csv"]


def test_an_empty_table_compares_nothing():
    grid = build_grid(TableSpec("table2", "T", ("cub",), METHODS, (0.15,), (0, 1, 2)), pd.DataFrame())
    assert {one["difference"] for one in compare(grid, "table2")} == {None}
    assert "## Order" not in compare_markdown(grid, "table2")


def test_zoo_tuning_s_table_is_published_for_every_row_and_column_of_ours():
    columns = ("cifar100", "coco70", "aircraft", "cars", "indoors", "dmlab", "eurosat")
    table, cells = load_table("zootuning"), published("zootuning")
    assert tuple(table["data"]) == columns
    assert len(cells) == 70
    assert {(data, method, 1.0) for data in columns for method in table["method"]} <= cells.keys()
    assert cells["dmlab", "finetune_moco", 1.0] == (75.06, None)
    assert paper_table("zootuning", None) == "zootuning"
