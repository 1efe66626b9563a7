"""Costs of methods: counts worked out on paper for a network of two linear layers."""

import pytest
import torch
from conftest import make_data, make_dataset
from torch import nn

from cotune_bench.backbones.base import Backbone, SourceInfo
from cotune_bench.inference.costs import costs_of
from cotune_bench.methods.feature_extractor import FeatureExtractor
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.linear_probe import LinearProbe
from cotune_bench.methods.random_policy import RandomPolicy
from cotune_bench.methods.spottune import SpotTune


class Block(nn.Module):
    """4 numbers to 1: 4 multiply-adds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1, bias=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(values)


def small() -> Backbone:
    trunk = nn.Sequential()
    trunk.add_module("pool", nn.AdaptiveAvgPool2d(2))
    trunk.add_module("flatten", nn.Flatten())
    trunk.add_module("block", Block())
    info = SourceInfo("random", "small", ("a",), (0.5,), (0.25,))
    return Backbone("small", trunk, nn.Linear(1, 1), info, blocks=("block",))


@pytest.mark.parametrize(
    ("kind", "costs"),
    [
        # forward 4 + 3; backward: the head's weights 3 and inputs 3, the block's weights 4
        (FineTune, {"parameters": 10, "test_macs": 7, "trained_parameters": 10, "train_macs": 17}),
        # the head on features that are there: forward 3, its weights 3
        (FeatureExtractor, {"parameters": 10, "test_macs": 7, "trained_parameters": 6, "train_macs": 6}),
        (lambda *given: LinearProbe(*given, grid=[1.0], without_validation=1.0), {"parameters": 10, "test_macs": 7}),
    ],
    ids=["finetune", "feature_extractor", "linear_probe"],
)
def test_costs_of_two_linear_layers(kind, costs, cache):
    method, data = kind(small(), 3), make_data(make_dataset(classes=3))
    method.prepare(data, cache)
    assert costs_of(method, data) == costs


def test_a_routed_network_computes_one_copy_of_a_block_at_test(cache):
    data = make_data(make_dataset(classes=3))
    routed = costs_of(RandomPolicy(small(), 3, always=0), data)
    assert (routed["test_macs"], routed["parameters"], routed["trained_parameters"]) == (7, 14, 10)
    assert 17 <= routed["train_macs"] <= 21  # and the frozen copy of the images that use it: 4 each
    method = SpotTune(small(), 3, policy_size=8, policy_widths=(4,), policy_blocks=1)
    found = {}
    for method.test_policy in ("argmax", "tuned"):
        found[method.test_policy] = costs_of(method, data)["test_macs"]
    # of 8x8 pixels: the stem and two 3x3 convolutions from 1 or 4 to 4 channels, 4 numbers to 2 logits
    assert found["argmax"] == found["tuned"] + 64 * 9 * (4 + 16 + 16) + 8
    assert found["tuned"] == 7


def test_counting_changes_neither_the_method_nor_the_random_state():
    method, data = FineTune(small(), 3), make_data(make_dataset(classes=3))
    before, state = {name: value.clone() for name, value in method.state_dict().items()}, torch.get_rng_state()
    costs_of(method, data)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())
