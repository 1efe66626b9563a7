"""Maps of a frozen network: the same as through hooks, with nothing computed that is not needed."""

import copy

import pytest
import torch
from conftest import make_backbone
from torch import nn

from cotune_bench.backbones.base import Frozen, tap
from cotune_bench.backbones.maps import FrozenMaps
from cotune_bench.backbones.torchvision import build, take_apart


def settled(module: nn.Module) -> nn.Module:
    """With running statistics, scales and shifts that do something."""
    draw = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values, low, high in (
                (norm.running_mean, -0.2, 0.2),
                (norm.running_var, 0.5, 2.0),
                (norm.weight.data, 0.5, 1.5),
                (norm.bias.data, -0.2, 0.2),
            ):
                values.uniform_(low, high, generator=draw)
    return module


def through_hooks(module: nn.Module, layers: list[str], images: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad(), tap(frozen := Frozen(module), [f"module.{layer}" for layer in layers]) as maps:
        frozen(images)
    return list(maps.values())


def normalisations(module: nn.Module) -> list[str]:
    return [name for name, part in module.named_modules() if isinstance(part, nn.BatchNorm2d)]


@pytest.mark.parametrize(
    ("model", "layers", "left"),
    [
        ("resnet18", ["layer1.1.conv2", "layer3.1.conv2"], ["layer1.1.bn2"]),
        ("resnet50", ["layer1.2.conv3", "layer2.0.conv2"], ["layer1.2.bn3"]),
    ],
)
def test_maps_are_those_of_the_network_and_what_comes_after_them_is_gone(model, layers, left):
    trunk = settled(take_apart(build(model))[0])
    kept = copy.deepcopy(trunk.state_dict())
    maps = FrozenMaps(trunk, layers)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for found, expected in zip(maps(images), through_hooks(trunk, layers, images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    assert normalisations(maps.module) == left
    assert not any("layer4" in name for name in maps.state_dict())
    assert all(torch.equal(value, kept[name]) for name, value in trunk.state_dict().items())


def test_normalisation_before_convolutions_stays():
    trunk = settled(take_apart(build("densenet121"))[0])
    layers = ["features.denseblock1.denselayer3.conv2", "features.transition1.conv"]
    maps = FrozenMaps(trunk, layers)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for found, expected in zip(maps(images), through_hooks(trunk, layers, images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    before = [f"features.denseblock1.denselayer{number}.norm1" for number in range(1, 7)]
    assert normalisations(maps.module) == [*before, "features.transition1.norm"]


def test_maps_that_are_changed_in_place_are_the_changed_ones():
    trunk = settled(take_apart(build("resnet18"))[0])
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    (found,), (expected,) = (
        FrozenMaps(trunk, ["layer1.0.bn1"])(images),
        through_hooks(trunk, ["layer1.0.bn1"], images),
    )
    torch.testing.assert_close(found, expected)
    assert found.min() == 0


class Own(nn.Conv2d):
    """A convolution that does more."""

    def forward(self, images):
        return 2 * super().forward(images)


class Network(nn.Module):
    def __init__(self, shared: bool = False, own: bool = False, second: bool = False, control: bool = False):
        super().__init__()
        self.conv = (Own if own else nn.Conv2d)(3, 3, 1)
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.shared, self.second, self.control = shared, second, control

    def forward(self, images):
        if self.control and images.mean() < 0:
            return images
        maps = self.conv(images)
        result = self.norm(maps)
        if self.second:
            result = result + maps
        if self.shared:
            result = self.other(self.conv(result))
        return result.relu()


@pytest.mark.parametrize("kind", ["shared", "own", "second", "control"])
def test_what_cannot_be_folded_stays_as_it_is(kind):
    last = nn.Conv2d(3, 2, 1)
    network = settled(nn.Sequential(Network(**{kind: True}), last))
    maps = FrozenMaps(network, ["1"])
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    (found,), (expected,) = maps(images), through_hooks(network, ["1"], images)
    torch.testing.assert_close(found, expected)
    assert "0.norm" in normalisations(maps.module)


def test_a_network_that_can_be_followed_is_folded():
    network = settled(nn.Sequential(Network(), nn.Conv2d(3, 2, 1)))
    assert normalisations(FrozenMaps(network, ["1"]).module) == []


def test_frozen_maps_stay_in_evaluation_mode_and_take_no_gradient():
    backbone = make_backbone()
    maps = FrozenMaps(backbone.trunk, backbone.taps)
    nn.Sequential(maps).train()
    assert not any(module.training for module in maps.modules())
    assert not any(parameter.requires_grad for parameter in maps.parameters())
    before = copy.deepcopy(maps.state_dict())
    maps(torch.rand(2, 1, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in maps.state_dict().items())
