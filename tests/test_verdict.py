"""Verdicts in words: every sentence from made records, and the share of false ones over simulated repetitions."""

import base64
import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy import like_runs

from cotune_bench.reports import verdict
from cotune_bench.reports.columns import find_column
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.statistics import replicates_needed
from cotune_bench.reports.verdict import table_sentence, verdicts

METHODS = ("finetune", "bss", "cotuning")


def runs_of(
    accuracies: dict[str, list[float]], data: str = "digits", images: int = 0, seed: int = 0, **more: object
) -> pd.DataFrame:
    """Runs at 15 %, replicates in order, NaN where one is missing; with ``images`` which of these are correct."""
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random(images or 1))  # the same images are difficult for all
    rows = []
    for method, values in accuracies.items():
        for unit, value in enumerate(values):
            own: dict[str, object] = {"method": method, "seed": unit, "split_seed": unit, "accuracy": value}
            own |= {"key": f"{data}-{method}-{unit}", "images": f"sample{unit}", "weights_sha256": f"source{unit}"}
            if images and value == value:
                right = np.ones(images, dtype=bool)
                right[order[: round(images * (1 - value / 100))]] = False
                packed = base64.b64encode(np.packbits(right)).decode()
                own |= {"correct": packed, "test_sha256": "shared", "test_images": images}
            rows.append(own)
    return like_runs(rows, **{"data": data, **more}).dropna(subset=["accuracy"])


def grid_of(*runs: pd.DataFrame, **spec: object) -> Grid:
    """A table of these runs with as many replicates as the longest has."""
    frame = pd.concat(runs, ignore_index=True)
    units = tuple(range(int(frame["seed"].max()) + 1))
    usual = TableSpec("desk", "Desk", tuple(dict.fromkeys(frame["data"])), METHODS, (0.15,), units)
    return build_grid(dataclasses.replace(usual, **spec), frame)


WORSE = [90.0, 90.5, 91.0, 90.2]
CLEAR = {"finetune": WORSE, "bss": [90.1, 90.6, 91.1, 90.0], "cotuning": [93.0, 93.6, 94.0, 93.1]}
OPEN = {"finetune": [80.0, 80.5, 81.0, 80.4], "bss": [90.5, 90.0, 91.5, 90.2], "cotuning": [91.0, 90.5, 90.8, 91.3]}


def sentence(*runs: pd.DataFrame, **spec: object) -> str:
    (found,) = verdicts(grid_of(*runs, **spec))
    return found.sentence


def test_one_method_that_beats_all_others_is_best():
    (found,) = verdicts(grid_of(runs_of(CLEAR)))
    assert (found.best, found.clear, found.units) == (("cotuning",), True, (0, 1, 2, 3))
    lead = next(pair for pair in found.pairs if {pair.first, pair.second} == {"cotuning", "bss"})
    assert found.sentence == (
        "digits, 15 %: Co-Tuning is best: it beats every other method (smallest lead +3.0 points over BSS, "
        f"[{lead.low:+.1f}, {lead.high:+.1f}]; 4 replicates, for these very test images)."
    )


def test_a_lead_that_only_follows_from_two_others_is_not_quoted(monkeypatch):
    steady = {"finetune": [88.0, 88.1, 88.0], "bss": [90.0, 90.1, 90.1], "cotuning": [91.0, 91.0, 91.1]}
    grid = grid_of(runs_of(steady))
    (found,) = verdicts(grid)
    shown = {(pair.first, pair.second): pair for pair in found.pairs}
    assert found.best == ("cotuning",)
    step = dataclasses.replace(shown["cotuning", "finetune"], p=0.5, difference=0.1)  # fine-tune still is, by BSS
    pairs = (shown["bss", "finetune"], step, shown["cotuning", "bss"])
    monkeypatch.setattr(verdict, "compare_all", lambda column: pairs)
    assert "smallest lead +1.0 points over BSS" in verdicts(grid)[0].sentence


def test_several_methods_may_be_best_and_more_replicates_are_offered():
    grid = grid_of(runs_of(OPEN))
    (found,) = verdicts(grid)
    assert (found.best, found.clear) == (("bss", "cotuning"), False)
    needed = replicates_needed(find_column(grid, "digits", 0.15).column)
    assert found.sentence == (
        "digits, 15 %: BSS or Co-Tuning may be best (4 replicates, for these very test images; Fine-tune is beaten). "
        f"{needed - 4} more replicates would probably settle 1 point in the average pair: "
        f'cotune-bench run table=desk replicate="range(0,{needed})".'
    )
    (own,) = verdicts(grid, "--replicates {stop}")
    assert own.sentence.endswith(f"in the average pair: --replicates {needed}.")
    assert sentence(runs_of(OPEN), name="own-pets").endswith(f'in the average pair: replicate="range(0,{needed})".')


def test_enough_replicates_without_a_winner():
    rng = np.random.default_rng(0)
    near = {method: list(90 + np.round(rng.normal(0, 0.1, 8), 2)) for method in METHODS}
    assert sentence(runs_of(near)).endswith(
        "A difference of 1 point would probably have been found in the average pair."
    )
    few = {"finetune": [90.0, 91.0], "bss": [90.5, 90.0], "cotuning": [91.0, 90.5]}
    assert "digits, 15 %: no method is shown to be better than another (2 replicates" in sentence(runs_of(few))


def test_too_few_test_images_are_named():
    rng = np.random.default_rng(1)
    frame = runs_of({method: [80.0] * 6 for method in METHODS[1:]}, images=60)
    views = {method: rng.random(60) < 0.8 for method in METHODS}
    for place, row in frame.iterrows():
        right = views[row["method"]] ^ (rng.random(60) < 0.02)
        frame.loc[place, "correct"] = base64.b64encode(np.packbits(right)).decode()
        frame.loc[place, "accuracy"] = 100 * right.mean()
    assert "No number of replicates would settle 1 point: the test images settle" in sentence(frame)


def test_shared_test_images_are_used_where_recorded():
    frame = runs_of(CLEAR, images=200)
    grid = grid_of(frame)
    column = find_column(grid, "digits", 0.15).column
    assert column.design == "crossed"
    np.testing.assert_allclose(100 * column.correct.mean(axis=2), np.round(2 * column.accuracies) / 2)
    assert "these very" not in verdicts(grid)[0].sentence
    frame.loc[0, "correct"] = ""
    assert find_column(grid_of(frame), "digits", 0.15).column.design == "fixed"


def test_test_images_of_each_replicate_are_resampled():
    frame = runs_of(CLEAR, images=200, rate=0.5, train_images=100)
    frame["test_sha256"] = [f"test{unit}" for unit in frame["seed"]]
    grid = grid_of(frame, rates=(0.5,))
    column = find_column(grid, "digits", 0.5).column
    assert (column.design, column.test_to_train) == ("resampled", 200 / (100 / 0.5))
    assert "training seed and test images, the same for all methods" in table_sentence(grid)


def test_replicates_that_a_method_lacks_do_not_count():
    partly = {**CLEAR, "bss": [90.1, float("nan"), 91.1, 90.0]}
    assert "; 3 of 4 replicates, those of all methods, for these" in sentence(runs_of(partly))
    few = {**CLEAR, "bss": [90.1]}
    assert sentence(runs_of(few)) == "digits, 15 %: no verdict: 1 replicate with runs of all methods, 2 are needed."
    assert sentence(runs_of({"bss": WORSE})) == "digits, 15 %: only BSS has runs, so there is nothing to compare."


@pytest.mark.parametrize("name", ["images", "weights_sha256"])
def test_replicates_whose_methods_differ_in_more_than_the_method_are_left_out(name):
    frame = runs_of(CLEAR)
    frame.loc[1, name] = "other"
    (found,) = verdicts(grid_of(frame))
    assert found.units == (0, 2, 3)
    assert found.sentence.endswith(
        "Replicate 1 left out: the methods had different training images or source weights."
    )


def test_training_seeds_have_no_verdict_and_the_table_says_why():
    grid = grid_of(runs_of(CLEAR), unit="seed")
    assert verdicts(grid) == []
    assert table_sentence(grid) == (
        "No verdict: the repetitions are training seeds on one split, whose spread contains neither split and sample "
        'nor the source network. Replicates give one: cotune-bench run table=desk replicate="range(0,10)".'
    )


def test_baselines_are_in_no_verdict():
    grid = grid_of(runs_of(CLEAR), methods=METHODS[:2], baselines=METHODS[2:])
    (found,) = verdicts(grid)
    assert found.methods == METHODS[:2]
    assert "Co-Tuning" not in found.sentence + table_sentence(grid)


def test_the_sentence_of_a_table():
    grid = grid_of(runs_of(CLEAR), runs_of(OPEN, "cub"))
    assert table_sentence(grid) == (
        "Of 2 columns (4 replicates): Co-Tuning is best in 1 and may be best in 1; BSS may be best in 1; Fine-tune "
        "in none. A replicate has its own source network, split, sample and training seed, the same for all "
        "methods. Each column keeps its 5 % on its own."
    )
    assert table_sentence(build_grid(grid.spec, pd.DataFrame())) == "No run has finished yet."
    one = grid_of(runs_of({"bss": WORSE}, weights_sha256="same"))
    assert table_sentence(one) == "No verdict yet: no column has 2 methods with 2 common replicates."
    near = {"finetune": [90.0, 91.0], "bss": [90.5, 90.0], "cotuning": [91.0, 90.5]}
    assert table_sentence(grid_of(runs_of(near, weights_sha256="same"))) == (
        "Of 1 column (2 replicates): no method is shown to be better than another. A replicate has its own split, "
        "sample and training seed, the same for all methods."
    )


# The simulation of benchmarks/verdict.py ---------------------------------------------------------------------------


@pytest.fixture
def simulation(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("verdict")


def test_the_chain_reads_what_was_drawn(simulation):
    right = simulation.draw(np.random.default_rng(0), simulation.EQUAL, 6, 300, lead=5.0)
    found = simulation.chain(right)
    assert found.best == ("cotuning",)
    gaps = {(one.first, one.second): one.difference for one in found.pairs}
    assert gaps["cotuning", "bss"] == pytest.approx(100 * (right[4].mean() - right[3].mean()))


@pytest.mark.slow
def test_five_names_of_one_method_are_called_clear_in_at_most_5_percent(simulation):
    found = simulation.chain_rates(simulation.ONE, 10, 900, 400, 0.0)
    assert found["clear"] <= 0.05  # 400 repetitions exceed that in 0.1 % of cases if the rate is 2.5 %
