"""Baselines: random start, linear probe and the kernel SVM against numbers worked out in other ways."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data, make_dataset
from scipy.special import softmax
from torch import nn

from cotune_bench.errors import UserError
from cotune_bench.inference.evaluate import evaluate, predict
from cotune_bench.methods.linear_probe import LinearProbe, logistic_regression
from cotune_bench.methods.random_start import RandomStart, reset
from cotune_bench.methods.svm import SVM, pixels

NO_VALIDATION = replace(PROTOCOL, val=0.0)


def solved(kind, grid, classes=3, without_validation=1.0):
    """A method on the small backbone, before it is solved."""
    return kind(make_backbone(), classes, grid=grid, without_validation=without_validation)


def test_every_weight_of_the_trunk_is_drawn_again_from_torch_s_generator():
    before = {name: value.clone() for name, value in make_backbone().trunk.state_dict().items()}
    torch.manual_seed(1)
    first = RandomStart(make_backbone(), 3).trunk.state_dict()
    torch.manual_seed(1)
    again = RandomStart(make_backbone(), 3).trunk.state_dict()
    torch.manual_seed(2)
    other = RandomStart(make_backbone(), 3).trunk.state_dict()
    for name, value in first.items():
        torch.testing.assert_close(value, again[name], rtol=0, atol=0)
        if value.ndim == 4:
            assert not torch.equal(value, other[name])
            assert not torch.equal(value, before[name])
        elif "running" in name:  # a fresh batch normalisation
            assert value.tolist() == [float(name.endswith("var"))] * len(value)


def test_convolutions_start_as_he_s():
    layer = nn.Conv2d(64, 128, 3, bias=True)
    reset(nn.Sequential(layer))
    assert layer.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)  # of 9 * 128 outgoing weights
    assert layer.bias is not None
    assert not layer.bias.any()


def test_a_layer_without_a_rule_is_refused():
    odd = nn.Module()
    odd.scale = nn.Parameter(torch.ones(2))
    with pytest.raises(UserError, match=r"cannot reset layer 1 \(Module\)"):
        reset(nn.Sequential(nn.ReLU(), odd))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_regression_is_stationary_in_weights_and_biases(classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 60)
    features = rng.normal(size=(60, 4)) * [1, 5, 0.1, 1] + labels[:, None] + 3
    features[:, 3] = 7.0  # says nothing
    weights, bias = logistic_regression(features, labels, C=0.5)
    assert (weights.shape, bias.shape) == ((classes, 4), (classes,))
    std = features.std(axis=0)
    std[3] = 1
    standard = (features - features.mean(axis=0)) / std
    own = weights * std  # weights of the standardised features
    residual = softmax(features @ weights.T + bias, axis=1) - np.eye(classes)[labels]
    penalty = 2 if classes == 2 else 1  # ||w1 - w0||^2 / 2C of the one row is ||W||^2 / C
    np.testing.assert_allclose(residual.T @ standard + penalty * own / 0.5, 0, atol=1e-4)
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(weights[:, 3], 0, atol=1e-8)


def test_the_probe_is_the_best_of_its_grid_on_validation(cache):
    data, grid = make_data(), (1e-6, 0.01, 1.0)
    probe = solved(LinearProbe, grid)
    probe.prepare(data, cache)
    alone = []
    for C in grid:
        one = solved(LinearProbe, [C])
        one.prepare(data, cache)
        alone.append(evaluate(one, data.val)[0])
    best = max(alone, key=lambda found: (found["accuracy"], -found["nll"]))
    assert evaluate(probe, data.val)[0]["nll"] == pytest.approx(best["nll"])
    assert probe.plain() == (probe.trunk, probe.head)


@pytest.mark.parametrize("kind", [LinearProbe, SVM])
def test_without_validation_images_the_fixed_c_is_used(kind, cache):
    data = make_data(protocol=NO_VALIDATION)
    fixed = solved(kind, [1e-6], without_validation=3.0)
    chosen = solved(kind, [3.0])
    fixed.prepare(data, cache)
    chosen.prepare(make_data(), cache)
    assert evaluate(fixed, data.test)[0]["accuracy"] > 50
    if kind is SVM:
        assert (fixed.problem["C"], chosen.problem["C"]) == (3.0, 3.0)


@pytest.mark.parametrize("kind", [LinearProbe, SVM])
@pytest.mark.parametrize(
    ("name", "values"), [("grid", ([],)), ("grid", ([1.0, 0.0],)), ("without_validation", ([1.0], 3, -1.0))]
)
def test_penalties_are_above_0(kind, name, values):
    with pytest.raises(UserError, match=f"method.{name}=.* give values above 0"):
        solved(kind, *values)


def test_decision_values_of_two_classes_are_those_of_the_kernel_expansion(cache):
    data = make_data(make_dataset(classes=2))
    method = solved(SVM, [1.0], classes=2)
    method.prepare(data, cache)
    train, test = pixels(data.plain).double(), pixels(data.test).double()
    gamma = 1 / (train.shape[1] * train.var(unbiased=False))
    kernel = torch.exp(-gamma * torch.cdist(test, train[method.machine.support_]) ** 2)
    values = kernel @ torch.from_numpy(method.machine.dual_coef_[0]) + method.machine.intercept_[0]
    expected = torch.stack([-values, values], dim=1).float()
    torch.testing.assert_close(predict(method, data.test), expected, rtol=1e-4, atol=1e-5)
    assert method.plain() is None


def test_ties_on_validation_go_to_the_smallest_c(cache):
    data = make_data()
    method = solved(SVM, [1e5, 1e3, 1e4])  # no training image is wrong under any
    method.prepare(data, cache)
    assert method.problem["C"] == 1e3
