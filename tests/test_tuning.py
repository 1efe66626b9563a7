"""Choosing trade-offs: the grid, the score, replicates, and the file from which later runs take values by rate."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from cotune_bench import cli
from cotune_bench.config import compose_config, run_config, run_key
from cotune_bench.config.compose import _compose, by_rate
from cotune_bench.errors import UserError
from cotune_bench.training import experiment, tuning
from cotune_bench.training.tuning import Point, best_of, grid_points, tune, tuned_yaml

TINY = ["backbone.weights=random", "protocol.updates=2", "device=cpu"]


@pytest.fixture
def scored(monkeypatch) -> list[list[str]]:
    """Runs that are not trained: 90 % plus ten points for each unit of weight at rate 1, less at others."""
    asked: list[list[str]] = []

    def validated(overrides):
        asked.append(overrides)
        config = compose_config(overrides)
        sign = 1 if config.rate == 1 else -1
        return {"accuracy": 90 + sign * config.method.weight + config.seed, "nll": 0.5}

    monkeypatch.setattr(tuning, "validated", validated)
    return asked


def test_accuracy_decides_and_the_smaller_nll_among_equals():
    points = [
        Point({"k": 1}, (90.0, 92.0), (0.5, 0.5)),
        Point({"k": 2}, (92.0, 92.0), (0.9, 0.9)),
        Point({"k": 3}, (93.0, 91.0), (0.4, 0.2)),
    ]
    assert best_of(points) is points[2]


def test_the_grid_is_all_combinations_of_the_yaml_s_section():
    weights = [point["weight"] for point in grid_points(["method=bss", "method.tune.weight=[0.5,1.0]"])]
    assert weights == [0.5, 1.0]
    with pytest.raises(UserError, match="method=finetune has nothing to choose"):
        grid_points(["method=finetune"])


def test_every_point_is_scored_for_every_rate_and_replicate(scored):
    found = tune(["method=bss", "method.tune.weight=[0.5,2.0]"], rates=[0.5, 1.0], replicates=[0, 3])
    assert [point.values for point in found[0.5]] == [{"weight": 0.5}, {"weight": 2.0}]
    assert [point.accuracies for point in found[0.5]] == [(89.5, 92.5), (88.0, 91.0)]
    assert [point.accuracies for point in found[1.0]] == [(90.5, 93.5), (92.0, 95.0)]
    settings = [compose_config(cell) for cell in scored]
    assert {(one.seed, one.split_seed, one.backbone.seed) for one in settings} == {(0, 0, 0), (3, 3, 3)}


def test_the_test_images_are_never_read_and_nothing_is_recorded(monkeypatch, tmp_path):
    evaluated = []

    def watched(method, images):
        evaluated.append((method.weight, len(images)))
        return {"accuracy": 50.0, "nll": 1.0}, np.ones(len(images), bool)

    monkeypatch.setattr(experiment, "evaluate", watched)
    overrides = [*TINY, "method=bss", "method.tune.weight=[0.5,2.0]", f"results={tmp_path}", f"cache={tmp_path}"]
    tune(overrides, rates=[0.3], replicates=[0, 1])
    assert evaluated == [(0.5, 177), (0.5, 177), (2.0, 177), (2.0, 177)]  # 177 validation images, not 899 of test
    assert list(tmp_path.glob("records/*")) == []


def test_without_validation_images_there_is_nothing_to_choose_on(tmp_path):
    with pytest.raises(UserError, match=r"set protocol\.val=0\.2"):
        tuning.validated([*TINY, "method=bss", "protocol.val=0", f"results={tmp_path}"])


@pytest.mark.parametrize(
    ("rate", "nearest"), [(0.15, 0.15), (0.01, 0.15), (0.29, 0.15), (0.3, 0.15), (0.31, 0.6), (0.6, 0.6), (1.0, 0.6)]
)
def test_the_nearest_rate_is_that_of_the_smallest_ratio_and_the_smaller_of_two(rate, nearest):
    root = OmegaConf.create({"rate": rate})
    assert by_rate({0.6: 0.6, 0.15: 0.15}, _root_=root) == nearest  # 0.3 is twice the one and half the other


def test_the_written_file_gives_each_rate_its_value(conf):
    best = {
        0.15: Point({"weight": 1e-05}, (90.0, 91.0), (0.1, 0.1)),
        1.0: Point({"weight": 2.0}, (95.0, 95.0), (0, 0)),
    }
    text = tuned_yaml(best, "cotune-bench tune method=bss")
    assert text.splitlines()[1:6] == [
        "# Chosen for the best accuracy on validation images, by:",
        "# cotune-bench tune method=bss",
        "# mean ± standard deviation over 2 replicates:",
        "# rate 0.15: 90.50 ± 0.71 %",
        "# rate 1: 95.00 ± 0.00 %",
    ]
    (conf / "tuned" / "bss_digits.yaml").write_text(text, encoding="utf-8")
    for rate, weight in ((0.1, 1e-05), (0.15, 1e-05), (0.5, 2.0), (1, 2.0)):
        config = compose_config(["method=bss", f"rate={rate}"])
        assert config.method.weight == weight
        assert run_config(config)["method"]["weight"] == weight
    given = compose_config(["method=bss", "rate=1.0", "method.weight=0.5"])
    assert given.method.weight == 0.5
    later = compose_config(["method=bss"]).copy()  # a rate that is set afterwards counts, too
    OmegaConf.set_readonly(later, False)
    later.rate = 1.0
    assert run_key(later) == run_key(compose_config(["method=bss", "rate=1.0"]))


@pytest.mark.parametrize(
    ("rates", "overrides", "said"),
    [
        ("{0.15: 0.1, 1.0: 2.0}", ["rate=0"], "rate=0 cannot be used"),
        ("{0.15: 0.1, 1.0: 2.0}", ["rate=half"], "rate=half cannot be used: it must be a number"),
        ("{0.15: 0.1}", ["method.weight=much"], "method.weight=much cannot be used: it must be a number"),
        ("{}", [], "by_rate has no rates"),
        ("{2: 0.1}", [], "by_rate has the key 2"),
    ],
)
def test_checks_hold_with_values_by_rate_and_damaged_ones_are_named(conf, rates, overrides, said):
    text = f"# @package _global_\nmethod: {{weight: '${{by_rate:{rates}}}'}}\n"
    (conf / "tuned" / "bss_digits.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        compose_config(["method=bss", *overrides])
    assert "\n" not in str(caught.value)


ASKED = ["method=bss", "data=digits", "rate=1.0,0.15", "replicates=range(2)", "method.tune.weight=[0.5,2.0]"]


def test_without_write_nothing_is_written_and_with_it_later_runs_use_it(conf, scored, capsys):
    path = conf / "tuned" / "bss_digits.yaml"
    before = path.read_bytes()
    assert cli.main(["tune", *ASKED]) == 0
    out = capsys.readouterr().out
    assert "bss_digits, rate 15 %, validation images, mean ± standard deviation over 2 replicates:" in out
    assert "not written: add --write" in out
    assert path.read_bytes() == before
    assert cli.main(["tune", *ASKED, "--write"]) == 0
    assert path.read_text(encoding="utf-8") in capsys.readouterr().out
    assert "cotune-bench tune method=bss data=digits rate=1.0,0.15 'replicates=range(2)'" in path.read_text()
    _compose.cache_clear()
    assert [compose_config(["method=bss", f"rate={rate}"]).method.weight for rate in (0.15, 1.0)] == [0.5, 2.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["method=finetune"], "method=finetune has nothing to choose"),
        (["seed=3"], "seed= cannot be used here: give replicates=0,1,2"),
        (["replicates=a"], "replicates=a cannot be used: it must be a whole number"),
        (["jobs=0"], "jobs=0 cannot be used"),
        (["data=folder", "data.root=.", "protocol=paper", "backbone=resnet18", "--write"], "--write cannot be used"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, said):
    assert cli.main(["tune", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
