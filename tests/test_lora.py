"""LoRA: its weights, its start, the network that is left."""

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from torch import nn

from cotune_bench.errors import UserError
from cotune_bench.methods.lora import LoRA, low_rank_weight
from cotune_bench.training.engine import fit


def test_low_rank_weight_of_a_worked_example():
    weight = torch.ones(2, 1, 1, 3, dtype=torch.float64)
    down, up = torch.tensor([[1.0, 2.0, 3.0]]).double(), torch.tensor([[1.0], [-1.0]]).double()
    found = low_rank_weight(weight, down, up, 0.5)
    assert found.dtype == torch.float64
    assert found.tolist() == [[[[1.5, 2.0, 2.5]]], [[[0.5, 0.0, -0.5]]]]


@pytest.mark.parametrize("groups", [1, 2])
def test_a_changed_convolution_is_the_frozen_one_plus_two_small_ones(groups):
    conv = nn.Conv2d(4, 6, 3, groups=groups, bias=False).double()
    images = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    inner = 3 * 3 * 4 // groups
    down, up = torch.randn(2, inner, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    changed = nn.functional.conv2d(images, low_rank_weight(conv.weight, down, up, 0.3), groups=groups)
    kernels = down.view(2, 4 // groups, 3, 3)
    parts = [nn.functional.conv2d(part, kernels) for part in images.chunk(groups, dim=1)]
    mixed = [
        nn.functional.conv2d(part, rows[:, :, None, None]) for part, rows in zip(parts, up.chunk(groups), strict=True)
    ]
    torch.testing.assert_close(changed, conv(images) + 0.3 * torch.cat(mixed, dim=1))


def test_training_starts_at_the_pretrained_network_and_the_rank_is_limited_by_the_layer():
    method = LoRA(make_backbone(), 3, rank=3)
    images = make_data().train(0).inputs
    method.eval()
    torch.testing.assert_close(method.features(images), method.trunk(images))
    shapes = [(tuple(down.shape), tuple(up.shape)) for down, up in zip(method.down, method.up, strict=True)]
    assert shapes == [((3, 9), (4, 3)), *[((3, 36), (4, 3))] * 4]
    assert [tuple(up.shape) for up in LoRA(make_backbone(), 3, rank=50).up] == [(4, 4)] * 5


def test_only_factors_and_head_are_trained_and_the_merged_network_is_the_same(cache):
    method, data = LoRA(make_backbone(), 3, rank=2), make_data()
    before = {name: value.clone() for name, value in method.trunk.named_parameters()}
    fit(method, data, PROTOCOL, seed=0, cache=cache)
    assert all(torch.equal(value, before[name]) for name, value in method.trunk.named_parameters())
    images = data.train(0).inputs
    trunk, head = method.eval().plain()
    with torch.no_grad():
        difference = (method.predict(images) - head(trunk(images))).abs().max()
        assert difference < 1e-6
        assert (method.predict(images) - head(method.trunk(images))).abs().max() > 1e-4
    assert trunk.state_dict().keys() == method.trunk.state_dict().keys()
    change = trunk.conv1.weight - method.trunk.conv1.weight
    assert torch.linalg.matrix_rank(change.flatten(1), atol=1e-6, rtol=0) == 2


def test_factors_learn_at_the_rate_of_the_head_and_settings_are_checked():
    groups = {group["name"]: group for group in LoRA(make_backbone(), 3).param_groups(0.2, 0.1)}
    assert (groups["lora"]["lr"], groups["head"]["lr"], groups["pretrained"]["params"]) == (0.2, 0.2, [])
    with pytest.raises(UserError, match=r"method.rank=0 cannot be used: it must be 1 or more"):
        LoRA(make_backbone(), 3, rank=0)
