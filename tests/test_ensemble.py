"""Ensemble and distillation: sums of finished networks, found by their records."""

import pytest
import torch
from conftest import make_data
from kept_runs import train
from safetensors.torch import load_file
from toy_methods import make_method
from trees import refused

from cotune_bench.config import compose_config, run_key, single_key
from cotune_bench.methods.distill import distillation
from cotune_bench.methods.finetune import FineTune


def test_the_ensemble_is_the_sum_of_the_logits_of_its_parts(cache):
    method, data = make_method("ensemble"), make_data()
    method.prepare(data, cache)
    images, expected = data.train(0).inputs, torch.zeros(())
    paths = [method.results / "runs" / single_key(part) / "model.safetensors" for part in method.parts]
    assert len(set(paths)) == 5
    for path in paths:
        part = make_method("finetune")
        assert isinstance(part, FineTune)
        part.load_state_dict(load_file(path))
        expected = expected + part.eval().predict(images)
    torch.testing.assert_close(method.eval().predict(images), expected)


def test_its_parts_are_the_runs_of_fine_tuning_from_each_source():
    more = ["data=digits", "rate=0.3", "replicate=2", "protocol.updates=20", "protocol.scale=[0.5,1.0]"]
    parts = compose_config(["method=ensemble", *more]).method.parts
    first = run_key(compose_config(["method=finetune", *more]))
    assert single_key(parts[0]) == first
    assert not any("backbone.seed" in part for part in parts[1:])
    for part, weights in zip(parts[1:], ("marks", "fonts", "rotation", "contrastive"), strict=True):
        assert single_key(part) == run_key(compose_config(["method=finetune", *more, f"backbone.weights={weights}"]))
    keys = [run_key(compose_config(["method=ensemble", *more, f"results={place}"])) for place in ("a", "b")]
    assert keys[0] == keys[1]


def test_missing_parts_are_named_with_the_commands_that_make_them(tmp_path):
    quick = ("data=digits", "protocol.updates=2", "zoo@method.sources=none", "+backbone@method.sources.more=glyphnet")
    quick = (*quick, "method.sources.more.seed=1")
    train(tmp_path, "data=digits", "method=finetune", "protocol.updates=2")
    message = "cotune-bench run data=digits method=finetune backbone=glyphnet protocol=desk rate=0.15 seed=0 "
    message += f"split_seed=0 backbone.seed=1 protocol.updates=2 results={tmp_path / 'results'} keep_checkpoint=true"
    refused(lambda: train(tmp_path, "method=ensemble", *quick), "1 of 2 runs of single sources are missing", message)
    train(tmp_path, "data=digits", "method=finetune", "protocol.updates=2", "backbone.seed=1")
    assert train(tmp_path, "method=ensemble", *quick).card["method"]["name"] == "ensemble"


def test_distillation_is_the_divergence_of_softened_probabilities():
    logits, teacher = torch.tensor([[0.0, 0.0]], dtype=torch.float64), torch.tensor([[4.0, 0.0]], dtype=torch.float64)
    found = distillation(logits, teacher, 2.0)  # T^2 (log 2 - entropy of softmax(2, 0))
    p = torch.sigmoid(torch.tensor(2.0, dtype=torch.float64))
    expected = 4 * (torch.log(torch.tensor(2.0)) + p * p.log() + (1 - p) * (1 - p).log())
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert distillation(teacher, teacher, 3.0).item() == pytest.approx(0, abs=1e-12)
