"""Choosing a trade-off: the grid, the score, the file that later runs read."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from cotune_bench import tuning
from cotune_bench.errors import UserError
from cotune_bench.tuning import Point, grid_points, tune, tuned_yaml

TINY = ["backbone.weights=random", "backbone.widths=[16,16]", "protocol.updates=2", "device=cpu", "rate=0.3"]


def test_accuracy_decides_and_the_smaller_nll_among_equals():
    points = [
        Point({"k": 1}, (90.0, 92.0), (0.5, 0.5)),
        Point({"k": 2}, (92.0, 92.0), (0.9, 0.9)),
        Point({"k": 3}, (93.0, 91.0), (0.4, 0.2)),
    ]
    assert max(points, key=lambda point: point.score) is points[2]


def test_the_grid_is_all_combinations_of_the_yaml_s_section():
    weights = [point["weight"] for point in grid_points(["method=bss", "method.tune.weight=[0.5,1.0]"])]
    assert weights == [0.5, 1.0]
    with pytest.raises(UserError, match="method=finetune has nothing to choose"):
        grid_points(["method=finetune"])


def test_points_are_trained_with_their_value_and_scored_per_seed_and_test_is_never_read(monkeypatch, tmp_path):
    import cotune_bench.experiment as experiment

    evaluated = []

    def watched(method, images):
        evaluated.append((method.weight, len(images)))
        return {"accuracy": 50.0 + len(evaluated), "nll": 1.0}, np.ones(len(images), dtype=bool)

    monkeypatch.setattr(experiment, "evaluate", watched)
    overrides = [*TINY, "method=bss", "method.tune.weight=[0.5,2.0]", f"results={tmp_path}", f"cache={tmp_path}"]
    points = tune(overrides, seeds=[0, 1], jobs=1)
    assert [point.values for point in points] == [{"weight": 0.5}, {"weight": 2.0}]
    assert [point.accuracies for point in points] == [(51.0, 52.0), (53.0, 54.0)]
    assert evaluated == [(0.5, 177), (0.5, 177), (2.0, 177), (2.0, 177)]  # 177 validation images, not 899 of test
    assert list(tmp_path.glob("records/*")) == []


def test_without_validation_images_there_is_nothing_to_choose_on(tmp_path):
    with pytest.raises(UserError, match=r"set protocol\.val=0\.2"):
        tuning._validated([*TINY, "method=bss", "protocol.val=0", f"results={tmp_path}"])


def test_the_written_file_is_a_global_part_of_the_configuration():
    text = tuned_yaml(Point({"weight": 0.01}, (90.0, 91.0), (0.1, 0.1)), "python scripts/tune.py method=bss")
    assert text.startswith("# @package _global_\n# Chosen on validation (90.50 % over 2 seeds and splits), by:\n")
    assert OmegaConf.create(text) == {"method": {"weight": 0.01}}
