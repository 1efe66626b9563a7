"""Captions and warnings of a table, word for word, from runs that differ in one thing at a time."""

import dataclasses

import pandas as pd
import pytest
from omegaconf import OmegaConf

from cotune_bench.config import CONF
from cotune_bench.reports.captions import caption, split_text, warnings
from cotune_bench.reports.frame import protocol_text
from cotune_bench.reports.grid import Grid, TableSpec, build_grid

SPEC = TableSpec("small", "Small", ("digits", "cub"), ("finetune", "bss"), (0.15,), (0, 1))
LIKE = {
    "backbone": "resnet50",
    "protocol": "paper",
    "weights": "IMAGENET1K_V1",
    "version": "0.1.0",
    "torch": "2.15.0",
    "device": "cpu",
    "precision": "float32",
    "split": "split 0 (nothing held out)",
    "finished": "2024-05-01T10:00:00+00:00",
    "rate": 0.15,
}


def grid(spec: TableSpec = SPEC, **first: object) -> Grid:
    """A full table of like runs, but for what the first run (digits, fine-tune, seed 0) has of its own."""
    places = [(data, method, seed) for data in spec.data for method in spec.methods for seed in spec.units]
    rows = [
        {**LIKE, "data": data, "method": method, "seed": seed, "accuracy": 50.0 + seed, "key": f"run{number}"}
        for number, (data, method, seed) in enumerate(places)
    ]
    rows[0] |= first
    return build_grid(spec, pd.DataFrame(rows))


def test_a_caption_word_for_word():
    assert caption(grid()) == (
        "Mean ± sample std over n = 2 seeds, top-1 test accuracy in percent; best of each column within a data set "
        "bold. Columns: sampling rate of the training images. Backbone resnet50, weights IMAGENET1K_V1, protocol "
        "paper, split 0 (nothing held out), precision float32. cotune_bench 0.1.0, torch 2.15.0."
    )
    assert warnings(grid()) == []


@pytest.mark.parametrize(("std", "words"), [("population", "population std"), ("standard_error", "standard error")])
def test_the_spread_is_named(std, words):
    assert caption(grid(dataclasses.replace(SPEC, std=std))).startswith(f"Mean ± {words} over n = 2 seeds")


def test_data_sets_of_different_settings_are_told_apart():
    told = caption(grid(protocol="tllib"))
    assert "digits: backbone resnet50, weights IMAGENET1K_V1, protocol paper/tllib, split 0" in told
    assert "cub: backbone resnet50, weights IMAGENET1K_V1, protocol paper, split 0" in told


def test_what_no_run_recorded_is_not_shown():
    runs = pd.DataFrame([{**LIKE, "data": "cub", "method": "bss", "seed": 0, "accuracy": 1.0, "key": "run"}])
    told = caption(build_grid(SPEC, runs.drop(columns=["precision", "split", "device"])))
    assert "Columns: sampling rate of the training images. cub: backbone resnet50, weights IMAGENET1K_V1, " in told
    assert "split" not in told
    assert "precision" not in told


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("version", "0.2.0", "Mixed cotune_bench versions: 0.1.0 in 7 runs, 0.2.0 in 1 run"),
        ("torch", "2.16.0", "Mixed torch versions: 2.15.0 in 7 runs, 2.16.0 in 1 run"),
        ("device", "H100", "Mixed devices: H100 in 1 run, cpu in 7 runs"),
        ("protocol", "tllib", "Mixed protocols in digits: paper in 3 runs, tllib in 1 run"),
        ("backbone", "resnet18", "Mixed backbones in digits: resnet18 in 1 run, resnet50 in 3 runs"),
        ("split", "split 1", "Mixed splits in digits: split 0 (nothing held out) in 3 runs, split 1 in 1 run"),
        ("precision", None, "Mixed precisions in digits: float32 in 3 runs, not recorded in 1 run"),
    ],
)
def test_a_mixture_is_told_with_the_cell_that_mixes(field, value, line):
    assert warnings(grid(**{field: value})) == [f"{line}; within 1 cell: digits finetune 0.15."]


def test_random_weights_are_told_even_where_all_are():
    assert warnings(grid(weights="random"))[1:] == ["Random weights, not pre-trained, in 1 of 4 runs of digits."]
    one = TableSpec("one", "One", ("digits",), ("bss",), (0.15,), (0,))
    assert warnings(grid(one, weights="random")) == ["Random weights, not pre-trained, in 1 of 1 run of digits."]


def test_missing_runs_and_unequal_numbers_are_told():
    runs = pd.DataFrame(
        [
            {**LIKE, "data": "cub", "method": m, "seed": s, "accuracy": 1.0, "key": f"{m}{s}"}
            for m, s in (("bss", 0), ("bss", 1), ("finetune", 0))
        ]
    )
    assert warnings(build_grid(SPEC, runs)) == [
        "Runs missing: 5 of 8, in 3 of 4 cells.",
        "Unequal numbers of seeds: n = 1 in 1 cell, n = 2 in 1 cell.",
    ]


def test_split_by_hand():
    config = {"split_seed": 7, "protocol": {"val": 0.25, "split_order": "split_then_sample"}}
    assert split_text(config) == "split 7 (25 % of the training images held out before sampling)"
    config["protocol"]["split_order"] = "sample_then_split"
    assert split_text(config) == "split 7 (25 % of the training images held out after sampling)"
    config["protocol"]["val"] = 0.0
    assert split_text(config) == "split 7 (nothing held out)"


def test_a_data_set_that_may_bring_validation_images_is_not_said_to_hold_some_out():
    config: dict = {"split_seed": 0, "protocol": {"val": 0.2, "split_order": "split_then_sample"}}
    own = "split 0 (validation images of its own, else 20 % of the training images held out before sampling)"
    for data, told in (
        ({"_target_": "cotune_bench.data.coco70.read"}, own),
        ({"_target_": "cotune_bench.data.imagelist.read", "val": "val.txt"}, own),
        (
            {"_target_": "cotune_bench.data.imagelist.read", "val": None},
            own.replace("validation images of its own, else ", ""),
        ),
        ({"_target_": "cotune_bench.data.cub.read"}, own.replace("validation images of its own, else ", "")),
    ):
        assert split_text({**config, "data": data}) == told


def test_a_protocol_that_was_changed_says_so():
    paper = OmegaConf.to_container(OmegaConf.load(CONF / "protocol" / "paper.yaml"))
    assert isinstance(paper, dict)
    assert protocol_text("paper", {**paper, "precision": "bf16", "val": 0.1}) == "paper"
    longer = {**paper, "updates": 27000, "drop_at": [18000, 24000]}
    assert protocol_text("paper", longer) == "paper (updates=27000, drop_at=[18000,24000])"
    auto = {**paper, "name": "auto", "updates": 700, "drop_at": [467]}  # both computed from the number of images
    assert protocol_text("auto", auto) == "auto"
    assert protocol_text("removed", longer) == "removed"


def test_images_that_are_not_the_same_at_a_rate_are_warned_of():
    places = [(method, seed, rate) for method in SPEC.methods for seed in SPEC.units for rate in (0.15, 1.0)]
    rows = [
        {
            **LIKE,
            "data": "cub",
            "method": m,
            "seed": s,
            "rate": r,
            "accuracy": 1.0,
            "key": f"{m}{s}{r}",
            "images": f"{r}",
        }
        for m, s, r in places
    ]
    spec = TableSpec("two", "Two", ("cub",), SPEC.methods, (0.15, 1.0), (0, 1))
    assert warnings(build_grid(spec, pd.DataFrame(rows))) == []  # a rate has images of its own
    rows[1]["images"] = "others"
    told = "The images of cub changed between its runs at 100 %: do not compare them."
    assert warnings(build_grid(spec, pd.DataFrame(rows))) == [told]
