"""StochNorm: values computed manually, exact gradients, running statistics."""

import pytest
import torch
from conftest import make_backbone, make_data
from torch import nn
from torch.nn.functional import batch_norm

from cotune_bench.errors import UserError
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.stochnorm import StochNorm, StochNormFineTune, stochastic_normalization

BRANCHES = [[True, True, True], [False, False, False], [True, False, True]]


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_worked_example():
    x = torch.tensor([[1.0, 1.0], [3.0, 3.0]], dtype=torch.float64)  # mean 2, biased variance 1
    running = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([1.0, 4.0], dtype=torch.float64)
    z = stochastic_normalization(x, torch.tensor([True, False]), *running, eps=0.0)
    assert z.dtype == torch.float64
    assert z.tolist() == [[-1.0, 0.0], [1.0, 1.0]]
    affine = torch.tensor([2.0, 3.0]), torch.tensor([10.0, 20.0])
    z = stochastic_normalization(x, torch.tensor([True, False]), *running, *affine, eps=0.0)
    assert z.tolist() == [[8.0, 20.0], [12.0, 23.0]]


@pytest.mark.parametrize("chosen", BRANCHES)
def test_gradients_are_those_of_the_two_branches_computed_apart(chosen):
    mask, parts = torch.tensor(chosen), []
    for way in ("ours", "apart"):
        x, weight, bias = (
            value.requires_grad_() for value in (randn(4, 3, 2, 2), randn(3, seed=1), randn(3, seed=2))
        )
        mean, var = randn(3, seed=3), randn(3, seed=4).square() + 0.1
        if way == "ours":
            z = stochastic_normalization(x, mask, mean, var, weight, bias)
        else:
            of_batch = batch_norm(x, None, None, weight, bias, training=True)
            moving = batch_norm(x, mean, var, weight, bias, training=False)
            z = torch.where(mask.view(1, -1, 1, 1), of_batch, moving)
        (z * randn(4, 3, 2, 2, seed=5)).sum().backward()
        parts.append([z, x.grad, weight.grad, bias.grad])
    torch.testing.assert_close(parts[0], parts[1])


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_the_gradient_through_a_layer_is_exact_although_statistics_are_updated_in_place(p):
    norm = nn.BatchNorm2d(3).double()
    norm.running_mean.copy_(randn(3))
    layer = StochNorm(norm, p).double().train()
    first = [(buffer, buffer.clone()) for buffer in layer.buffers()]

    def height(x: torch.Tensor) -> torch.Tensor:
        for buffer, value in first:
            buffer.copy_(value)
        torch.manual_seed(0)
        return layer(x).pow(3).sum()

    assert torch.autograd.gradcheck(height, randn(4, 3, 2, 2, seed=1).requires_grad_())


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_and_evaluation_are_those_of_batch_normalisation(momentum):
    norm = nn.BatchNorm2d(3, momentum=momentum)
    layer = StochNorm(norm, 0.5)
    for seed in (0, 1):
        for module in (norm, layer):
            module(randn(4, 3, 2, 2, seed=seed).float())
    assert norm.state_dict().keys() == layer.state_dict().keys()
    torch.testing.assert_close(dict(layer.state_dict()), dict(norm.state_dict()))
    x = randn(2, 3, 2, 2, seed=3).float()
    torch.testing.assert_close(layer.eval()(x), norm.eval()(x))
    assert layer.train()(x.bfloat16()).dtype == torch.bfloat16


def test_every_layer_is_replaced_and_p_one_is_fine_tuning():
    ours, plain = StochNormFineTune(make_backbone(), 3, p=1.0).train(), FineTune(make_backbone(), 3).train()
    ours.load_state_dict(plain.state_dict())
    kinds = {type(module) for module in ours.trunk.modules() if isinstance(module, nn.BatchNorm2d)}
    assert kinds == {StochNorm}
    batch = make_data().train(0)
    torch.testing.assert_close(ours(batch), plain(batch))
    half = StochNormFineTune(make_backbone(), 3).train()
    half.load_state_dict(plain.state_dict())
    assert half(batch)["ce"].item() != plain(batch)["ce"].item()


def test_about_the_share_p_of_the_channels_uses_batch_statistics():
    layer = StochNorm(nn.BatchNorm2d(4000), 0.3).train()
    torch.manual_seed(0)
    x = torch.full((2, 4000, 1, 1), 5.0)  # batch statistics give 0, running ones 5
    assert (layer(x)[0] == 0).double().mean().item() == pytest.approx(0.3, abs=0.03)


def test_what_cannot_be_used_is_refused():
    with pytest.raises(UserError, match=r"method.p=1.5 cannot be used: it must be in \[0, 1\]"):
        StochNormFineTune(make_backbone(), 3, p=1.5)
    backbone = make_backbone()
    backbone.trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(UserError, match="tiny has no batch normalisation"):
        StochNormFineTune(backbone, 3)
