"""The published formulas: numbers worked out by hand, or by another way to the same number."""

import copy
import math

import numpy as np
import pytest
import torch
from conftest import make_backbone
from torch import nn
from torch.nn.functional import cross_entropy

from cotune_bench.backbones.base import Frozen, evaluating, tap
from cotune_bench.methods.base import Penalty, squared_distance
from cotune_bench.methods.bss import spectral_shrinkage
from cotune_bench.methods.cotuning import soft_cross_entropy
from cotune_bench.methods.delta import feature_map_penalty
from cotune_bench.methods.delta_attention import channel_attention, filter_importance
from cotune_bench.methods.l2sp import starting_point_penalty


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_starting_point_penalty_of_a_worked_example():
    parameters = [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([[3.0]], requires_grad=True)]
    start = [torch.tensor([0.0, 4.0]), torch.tensor([[3.0]])]
    penalty = starting_point_penalty(parameters, start)
    penalty.backward()
    assert penalty.item() == (1 + 4 + 0) / 2
    assert [parameter.grad.tolist() for parameter in parameters] == [[1.0, -2.0], [[0.0]]]
    assert squared_distance(parameters, start).item() == pytest.approx((1 + 4) / 2)
    assert squared_distance(parameters).item() == pytest.approx((1 + 4 + 9) / 2)


def test_a_penalty_adds_its_gradient():
    start = [randn(3, 2), randn(4, seed=1)]
    ours, theirs = (
        [nn.Parameter(randn(*value.shape, seed=2 + place)) for place, value in enumerate(start)] for _ in "ab"
    )
    for parameters in (ours, theirs):
        sum((parameter**3).sum() for parameter in parameters).backward()
    Penalty(ours, start, 0.3).add_gradients()
    (0.3 * starting_point_penalty(theirs, start)).backward()
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left.grad, right.grad)
    with pytest.raises(ValueError, match="shorter"):
        Penalty(ours, start[:1], 1.0).add_gradients()


def test_a_penalty_towards_zero_passes_over_parameters_without_gradient():
    weight, unused = nn.Parameter(torch.tensor([1.0, -3.0])), nn.Parameter(torch.ones(1))
    weight.sum().backward()
    Penalty([unused, weight], None, 0.5).add_gradients()
    assert weight.grad.tolist() == [1.5, -0.5]
    assert unused.grad is None


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5), (1, 3)])
@pytest.mark.parametrize("k", [1, 2])
def test_spectral_shrinkage_is_the_sum_of_the_smallest_squared_singular_values(shape, k):
    features = randn(*shape).requires_grad_()
    penalty = spectral_shrinkage(features, k)
    penalty.backward()
    u, sigma, v = torch.linalg.svd(features.detach(), full_matrices=False)
    assert penalty.item() == pytest.approx(sigma[-k:].square().sum().item(), rel=1e-9)
    expected = 2 * (u[:, -k:] * sigma[-k:]) @ v[-k:]
    torch.testing.assert_close(features.grad, expected, rtol=1e-8, atol=1e-10)


def test_spectral_shrinkage_of_a_float32_batch_keeps_the_digits_of_a_small_value():
    left, _ = torch.linalg.qr(randn(16, 16))
    right, _ = torch.linalg.qr(randn(40, 16, seed=1))
    features = (left * torch.tensor([10.0] * 15 + [0.02])) @ right.T
    found = spectral_shrinkage(features.float(), 1)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(4e-4, rel=1e-3)  # a float32 Gram matrix is off by more than that


def test_spectral_shrinkage_of_duplicated_images_is_zero_with_a_finite_gradient():
    features = randn(2, 8, dtype=torch.float32).repeat(3, 1).requires_grad_()
    penalty = spectral_shrinkage(features, 3)
    penalty.backward()
    assert penalty.item() == pytest.approx(0, abs=1e-12)
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().max().item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_feature_map_penalty_of_a_worked_example(dtype):
    source = [torch.zeros(1, 2, 1, 2, dtype=dtype), torch.zeros(1, 1, 2, 2, dtype=dtype)]
    target = [torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]], dtype=dtype), torch.full((1, 1, 2, 2), 2.0, dtype=dtype)]
    attention = [torch.tensor([0.25, 0.75]), torch.tensor([1.0])]
    # First layer: C / (H W) = 2 / 2, distances 1 + 4 and 9. Second: 1 / 4, distance 4 * 4.
    weighted, plain = feature_map_penalty(source, target, attention), feature_map_penalty(source, target)
    assert weighted.item() == (0.25 * 5 + 0.75 * 9) / 2 + 16 / 4 / 2
    assert plain.item() == (5 + 9 + 16) / 2
    assert weighted.dtype == plain.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_relative_feature_map_penalty_is_independent_of_batch_size_and_scale():
    source, target = randn(3, 4, 2, 2), randn(3, 4, 2, 2, seed=1)
    attention = torch.softmax(randn(4, seed=2), 0)
    weighted = (attention[:, None, None] * (target - source).square()).sum() / 2
    expected = weighted / (attention[:, None, None] * source.square()).sum()
    for maps in (source, target), (source.repeat(2, 1, 1, 1), target.repeat(2, 1, 1, 1)), (7 * source, 7 * target):
        found = feature_map_penalty(maps[:1], maps[1:], [attention], relative=True)
        torch.testing.assert_close(found, expected)
        assert found.dtype == torch.float64
    assert feature_map_penalty([source], [0 * target], relative=True).item() == pytest.approx(0.5)


@pytest.mark.parametrize("weights", [None, [torch.softmax(randn(4, seed=2), 0)]])
def test_feature_map_penalty_sums_squares_over_the_batch(weights):
    source, target = randn(3, 4, 2, 2), randn(3, 4, 2, 2, seed=1)
    whole = feature_map_penalty([source], [target], weights).item()
    single = [feature_map_penalty([source[i : i + 1]], [target[i : i + 1]], weights) for i in range(3)]
    assert whole == pytest.approx(sum(map(float, single)), rel=1e-12)
    assert feature_map_penalty([target], [source], weights).item() == pytest.approx(whole, rel=1e-12)
    with pytest.raises(ValueError, match="longer"):
        feature_map_penalty([source], [target] * 2, weights)


def test_channel_attention_is_the_softmax_of_fifths_of_standard_scores():
    importance = torch.tensor([0.0, 0.0, 6.0, 6.0], dtype=torch.float64)  # mean 3, population deviation 3
    (attention,) = channel_attention([importance])
    low, high = math.exp(-1 / 5), math.exp(1 / 5)
    expected = [value / (2 * low + 2 * high) for value in (low, low, high, high)]
    assert attention.tolist() == pytest.approx(expected)
    assert attention.sum().item() == pytest.approx(1)


def test_channel_attention_ignores_scale_and_offset_and_is_uniform_where_importances_are_equal():
    first = randn(7)
    both = channel_attention([first, torch.full((6,), -3.7)])
    torch.testing.assert_close(both[0], channel_attention([5 * first + 2])[0])
    assert both[1].tolist() == pytest.approx([1 / 6] * 6)


@pytest.fixture
def ablation():
    backbone = make_backbone(taps=("layer1.0.conv1", "layer1.0.conv2", "layer2.1.conv2", "conv1"))
    torch.manual_seed(3)
    head = nn.Linear(4, 3)
    nn.init.normal_(head.weight)
    images = randn(10, 1, 8, 8)
    labels = torch.arange(10) % 3
    return backbone.trunk.double(), head.double(), backbone.taps, images, labels


def naive_importance(model, head, layers, images, labels) -> list[list[float]]:
    """One copy of the whole network for each filter, every image by itself."""
    model, head = copy.deepcopy(model).eval(), copy.deepcopy(head).eval()
    found = []
    for layer in layers:
        rises = []
        for number in range(model.get_submodule(layer).weight.shape[0]):
            without = copy.deepcopy(model)
            without.get_submodule(layer).weight.data[number] = 0
            losses = [
                cross_entropy(head(net(image[None])), label[None]).item()
                for image, label in zip(images, labels, strict=True)
                for net in (without, model)
            ]
            rises.append(float(np.mean(losses[::2]) - np.mean(losses[1::2])))
        found.append(rises)
    return found


class Wrapped(nn.Module):
    """A network that is no Sequential."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images)


@pytest.mark.parametrize("batch_size", [None, 4, 100])
@pytest.mark.parametrize("kind", ["sequential", "wrapped", "deep head"])
def test_filter_importance_equals_the_naive_loop(ablation, kind, batch_size):
    model, head, layers, images, labels = ablation
    if kind == "wrapped":
        model, layers = Wrapped(model), [f"inner.{layer}" for layer in layers]
    if kind == "deep head":
        head = nn.Sequential(head, nn.Tanh(), nn.Linear(3, 3).double())
    before = copy.deepcopy(model.train().state_dict())
    found = filter_importance(model, head, layers, images, labels, batch_size=batch_size)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    expected = naive_importance(model, head, layers, images, labels)
    for rises, naive in zip(found, expected, strict=True):
        assert rises.tolist() == pytest.approx(naive, rel=1e-9, abs=1e-12)
        assert rises.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("layer", "passes"),
    [
        ("layer2.1.conv2", 3),  # adds channel to channel: with all filters, without any and without half of them
        ("layer1.0.conv1", 7),  # mixed by the block's second convolution: without each of the 4 filters, too
    ],
)
def test_filter_importance_runs_no_more_of_the_network_than_it_needs(ablation, layer, passes):
    model, head, _, images, labels = ablation
    ran = []
    model.get_submodule(layer.rsplit(".", 1)[0]).register_forward_hook(lambda *_: ran.append(0))
    counts = []
    for batches in (1, 2):
        ran.clear()
        filter_importance(model, head, [layer], images[: 5 * batches], labels[: 5 * batches], batch_size=5)
        counts.append(len(ran))
    assert counts[1] - counts[0] == passes


def test_soft_cross_entropy_of_a_worked_example():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]], dtype=torch.float64)  # softmax 1/4, 3/4 and 1/2, 1/2
    targets = torch.tensor([[0.5, 0.5], [0.1, 0.9]], dtype=torch.float64)
    expected = (-(math.log(1 / 4) + math.log(3 / 4)) / 2 + math.log(2)) / 2
    assert soft_cross_entropy(logits, targets).item() == pytest.approx(expected)


def test_frozen_stays_in_evaluation_and_takes_no_gradient_but_passes_it_on():
    trunk = make_backbone().trunk
    frozen = Frozen(trunk)
    outer = nn.Sequential(frozen).train()
    assert outer.training
    assert not any(module.training for module in frozen.modules())
    before = copy.deepcopy(frozen.state_dict())
    images = randn(4, 1, 8, 8, dtype=torch.float32).requires_grad_()
    frozen(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in frozen.parameters())
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
    assert all(parameter.requires_grad for parameter in trunk.parameters())
    trunk[0].weight.data.zero_()
    assert frozen.module[0].weight.any()


def test_tap_gives_the_outputs_with_gradients_and_removes_its_hooks():
    trunk = make_backbone().trunk.eval()
    images = randn(2, 1, 8, 8, dtype=torch.float32)
    with tap(trunk, ["conv1", "layer2.1.conv2"]) as outputs:
        assert outputs == {}
        trunk(images)
    assert list(outputs) == ["conv1", "layer2.1.conv2"]
    torch.testing.assert_close(outputs["conv1"], trunk[0](images))
    assert outputs["layer2.1.conv2"].requires_grad
    kept = outputs["conv1"]
    trunk(images + 1)
    assert outputs["conv1"] is kept
    with pytest.raises(RuntimeError, match="inside"), tap(trunk, ["conv1"]):
        raise RuntimeError("inside")
    assert not any(module._forward_hooks for module in trunk.modules())


def test_evaluating_gives_each_module_its_own_mode_back():
    trunk = make_backbone().trunk.train()
    trunk.layer1.eval()
    modes = {name: module.training for name, module in trunk.named_modules()}
    with evaluating(trunk):
        assert not any(module.training for module in trunk.modules())
        assert not trunk(randn(1, 1, 8, 8, dtype=torch.float32)).requires_grad
    assert modes == {name: module.training for name, module in trunk.named_modules()}
    with pytest.raises(RuntimeError, match="inside"), evaluating(trunk):
        raise RuntimeError("inside")
    assert modes == {name: module.training for name, module in trunk.named_modules()}
