"""Maps that are computed twice instead of kept change no bit."""

import copy

import pytest
import torch

from cotune_bench.backbones.base import tap
from cotune_bench.backbones.torchvision import build, take_apart


def steps(trunk: torch.nn.Module, layers: tuple[str, ...] = ()) -> list[torch.Tensor]:
    """Gradients and state after two updates whose loss may look at inner maps."""
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        trunk.zero_grad()
        with tap(trunk, layers) as maps:
            features = trunk(images)
        (features.square().sum() + sum(map_.abs().sum() for map_ in maps.values())).backward()
    return [*(parameter.grad for parameter in trunk.parameters()), *trunk.state_dict().values()]


@pytest.mark.parametrize("model", ["resnet18", "densenet121"])
def test_recomputing_changes_no_bit_of_gradients_and_statistics(model):
    trunk, _ = take_apart(build(model))
    layers = ("layer1.0.conv2", "layer4.1.conv2") if model == "resnet18" else ()
    other = copy.deepcopy(trunk)
    other.recompute = True
    for kept, recomputed in zip(steps(trunk, layers), steps(other, layers), strict=True):
        assert torch.equal(kept, recomputed)


def test_recomputing_keeps_fewer_maps():
    trunk, _ = take_apart(build("resnet18"))
    kept = {False: 0, True: 0}

    def count(value: torch.Tensor) -> torch.Tensor:
        kept[trunk.recompute] += value.numel() * (len(value) == 2)  # maps, not weights
        return value

    for trunk.recompute in kept:
        with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
            trunk(torch.zeros(2, 3, 64, 64))
    assert kept[True] < 0.5 * kept[False]
