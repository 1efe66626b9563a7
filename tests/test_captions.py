"""Captions and warnings of a table, word for word, from runs that differ in one thing at a time."""

import dataclasses
from itertools import product

import pytest
from omegaconf import OmegaConf
from toy import like_runs, toy_record

from cotune_bench.config import CONF
from cotune_bench.reports.captions import caption, warnings
from cotune_bench.reports.frame import protocol_text, run_frame, split_rule
from cotune_bench.reports.grid import Grid, TableSpec, build_grid

SPEC = TableSpec("small", "Small", ("digits", "cub"), ("finetune", "bss"), (0.15,), (0, 1), "seed")
OF_REPLICATES = dataclasses.replace(SPEC, unit="replicate")
LIKE = {
    "backbone": "resnet50",
    "protocol": "paper",
    "weights": "IMAGENET1K_V1",
    "device": "cpu",
    "precision": "float32",
    "split": "nothing held out",
    "split_seed": 0,
}


def places(spec: TableSpec = SPEC) -> list[dict]:
    return [
        {**LIKE, "data": data, "method": method, "seed": seed, "accuracy": 50.0 + seed}
        for data, method, seed in product(spec.data, spec.methods, spec.units)
    ]


def grid(spec: TableSpec = SPEC, **first: object) -> Grid:
    """A full table of like runs, but for what the first run (digits, fine-tune, unit 0) has of its own."""
    rows = places(spec)
    rows[0] |= first
    return build_grid(spec, like_runs(rows))


def sourced(marks: dict[str, tuple[str, str]], spec: TableSpec = OF_REPLICATES, **more: object) -> Grid:
    """A full table in which the source weights of a data set follow from the unit."""
    rows = [row | {"weights_sha256": marks[row["data"]][row["seed"]]} for row in places(spec)]
    return build_grid(spec, like_runs(rows, **more))


def test_a_caption_word_for_word():
    assert caption(grid()) == (
        "Mean ± sample std over n = 2 training seeds on one split and sample, top-1 test accuracy in percent. The ± "
        "does not contain how much another split, sample or source network would change. "
        "Highest mean of each column within "
        "a data set: bold. Columns: sampling rate of the training images. Backbone resnet50, weights IMAGENET1K_V1, "
        "protocol paper, split 0 (nothing held out), precision float32. cotune_bench 0.1.0, torch 2.15.0."
    )
    assert warnings(grid()) == []


def test_a_caption_of_replicates_says_what_differs_between_them():
    text, start = caption(grid(OF_REPLICATES)), "Mean ± sample std over n = 2 replicates (each with its own "
    assert text.startswith(
        start + "split, sample and training seed), top-1 test accuracy in percent. Highest mean of each "
    )
    assert "one split for each replicate (nothing held out)" in text
    assert "does not contain" not in text
    for marks in ({"digits": ("a", "a"), "cub": ("c", "c")}, {"digits": ("a", "b"), "cub": ("c", "c")}):
        assert caption(sourced(marks)).startswith(start + "split, sample and training seed), top-1")
    several = sourced({"digits": ("a", "b"), "cub": ("c", "d")}, test_sha256=["e", "f"] * 4)
    assert caption(several).startswith(start + "source network, split, sample, training seed and test images), top-1")


def test_source_weights_that_should_be_shared_and_are_not_are_warned_of():
    different = "Different source weights under one name in digits"
    assert warnings(sourced({"digits": ("a", "b"), "cub": ("c", "c")})) == []
    assert warnings(sourced({"digits": ("a", "b"), "cub": ("c", "c")}, SPEC)) == [
        f"{different} (backbone weights: resnet50 IMAGENET1K_V1): do not compare these runs."
    ]
    marks = ["a", "b", "x", "b", "c", "c", "c", "c"]  # fine-tune 0, 1, then BSS 0, 1 on digits
    assert warnings(sourced({"digits": ("a", "b"), "cub": ("c", "c")}, weights_sha256=marks)) == [
        f"{different} (backbone weights unit: resnet50 IMAGENET1K_V1 0): do not compare these runs."
    ]


def test_instruction_sets_that_mix_on_a_data_set_are_warned_of():
    same = {"digits": ("a", "b"), "cub": ("c", "c")}
    sets = ["AVX512", "AVX2", "AVX512", "AVX2", "AVX2", "AVX2", "AVX2", "AVX2"]
    assert warnings(sourced(same, instructions=sets)) == [
        "Mixed instruction sets in digits: AVX2 in 2 runs, AVX512 in 2 runs; within 2 cells: digits finetune 0.15, "
        "digits bss 0.15."
    ]
    assert warnings(sourced(same, instructions=["AVX512"] * 2 + ["AVX2"] * 6)) == [
        "Mixed instruction sets in digits: AVX2 in 2 runs, AVX512 in 2 runs."
    ]
    assert warnings(sourced(same, instructions=["AVX2"] * 4 + ["AVX512"] * 4)) == []  # data sets are not compared
    assert warnings(sourced(same, instructions=["AVX2", None] * 4)) == []  # not recorded
    assert warnings(sourced(same, instructions=sets, device="H100")) == []  # not computed with them


def test_data_sets_of_different_settings_are_distinguished():
    text = caption(grid(protocol="tllib"))
    assert "digits: backbone resnet50, weights IMAGENET1K_V1, protocol paper/tllib, split 0" in text
    assert "cub: backbone resnet50, weights IMAGENET1K_V1, protocol paper, split 0" in text


def test_what_no_run_recorded_is_not_shown():
    runs = like_runs(places()[-1:]).drop(columns=["precision", "split", "device"])
    text = caption(build_grid(SPEC, runs))
    assert "images. cub: backbone resnet50, weights IMAGENET1K_V1, protocol paper. cotune_bench" in text


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("version", "0.2.0", "Mixed cotune_bench versions: 0.1.0 in 7 runs, 0.2.0 in 1 run"),
        ("torch", "2.16.0", "Mixed torch versions: 2.15.0 in 7 runs, 2.16.0 in 1 run"),
        ("device", "H100", "Mixed devices: H100 in 1 run, cpu in 7 runs"),
        ("protocol", "tllib", "Mixed protocols in digits: paper in 3 runs, tllib in 1 run"),
        ("backbone", "resnet18", "Mixed backbones in digits: resnet18 in 1 run, resnet50 in 3 runs"),
        (
            "split_seed",
            1,
            "Mixed splits in digits: split 0 (nothing held out) in 3 runs, split 1 (nothing held out) in 1 run",
        ),
        ("precision", None, "Mixed precisions in digits: float32 in 3 runs, not recorded in 1 run"),
    ],
)
def test_a_mixture_is_reported_with_its_cell(field, value, line):
    assert warnings(grid(**{field: value})) == [f"{line}; within 1 cell: digits finetune 0.15."]


def test_a_precision_that_each_machine_chose_is_shown_as_it_was():
    config = toy_record().config
    config["protocol"]["precision"] = "auto"
    records = [toy_record(config=config, environment={"precision": found}) for found in ("bf16", "fp32")]
    assert run_frame(records)[0]["precision"].tolist() == ["bf16", "fp32"]


def test_random_weights_are_reported_even_if_all_are_random():
    assert warnings(grid(weights="random"))[1:] == ["Random weights, not pre-trained, in 1 of 4 runs of digits."]
    one = TableSpec("one", "One", ("digits",), ("bss",), (0.15,), (0,))
    assert warnings(grid(one, weights="random")) == ["Random weights, not pre-trained, in 1 of 1 run of digits."]


def test_missing_runs_and_unequal_numbers_are_reported():
    assert warnings(build_grid(SPEC, like_runs(places()[5:]))) == [
        "Runs missing: 5 of 8, in 3 of 4 cells.",
        "Unequal numbers of seeds: n = 1 in 1 cell, n = 2 in 1 cell.",
    ]


SPLIT = "20 % of the training images held out before sampling"


@pytest.mark.parametrize(
    ("protocol", "data", "text"),
    [
        ({}, {"reader": "cub"}, SPLIT),
        ({"split_order": "sample_then_split"}, {}, SPLIT.replace("before", "after")),
        ({"val": 0.0}, {}, "nothing held out"),
        ({}, {"reader": "coco70"}, f"validation images of its own, else {SPLIT}"),
        ({}, {"reader": "imagelist", "val": "val.txt"}, f"validation images of its own, else {SPLIT}"),
        ({}, {"reader": "imagelist", "val": None}, SPLIT),
    ],
)
def test_the_rule_of_a_split(protocol, data, text):
    assert (
        split_rule({"protocol": {"val": 0.2, "split_order": "split_then_sample", **protocol}, "data": data}) == text
    )


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
    spec = TableSpec("two", "Two", ("cub",), SPEC.methods, (0.15, 1.0), (0, 1), "seed")
    rows = [row | {"rate": rate, "images": f"{rate}"} for row in places(spec) for rate in spec.rates]
    runs = like_runs(rows)
    replicates = dataclasses.replace(spec, unit="replicate")
    assert warnings(build_grid(spec, runs)) == []  # a rate has images of its own
    own = runs.assign(images=[f"{row['rate']}{row['seed']}" for row in rows])
    assert warnings(build_grid(replicates, own)) == []  # so has a replicate
    assert len(warnings(build_grid(spec, own))) == 1
    runs.loc[1, "images"] = "others"
    line = "Different images in cub (rate{}): do not compare these runs."
    assert warnings(build_grid(spec, runs)) == [line.format(": 1")]
    assert warnings(build_grid(replicates, runs)) == [line.format(" unit: 1 0")]
