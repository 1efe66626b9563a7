"""What benchmarks of training share: networks with random weights, batches of noise, and the engine on them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from cotune_bench.config import build, compose_config
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Batch
from cotune_bench.inference.execution import choose_execution
from cotune_bench.methods.base import Method
from cotune_bench.storage.cache import Cache
from cotune_bench.training.engine import fit

Batches = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Setting:
    """A network, its images, how many updates make a turn, and of how many the losses are compared."""

    name: str
    overrides: tuple[str, ...]
    classes: int
    batch: int
    updates: int
    compared: int


def desk() -> Setting:
    return Setting(
        "desk network", ("data=digits", "backbone.weights=random"), classes=10, batch=48, updates=40, compared=8
    )


def resnet50(pixels: int, batch: int) -> Setting:
    size = (f"protocol.resize={pixels}", f"protocol.crop={pixels}")
    overrides = ("data=cub", "backbone=resnet50", "backbone.weights=random", "protocol.lr=0.0003", *size)
    return Setting(f"ResNet-50, {pixels} px", overrides, classes=200, batch=batch, updates=1, compared=3)


@dataclass(frozen=True)
class Drawn:
    """Batches made before, again and again."""

    batches: Batches
    views: int = 1

    def stream(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of these steps."""
        return (Batch(*self.batches[step % len(self.batches)]) for step in range(first, last))


class Ours:
    """A method as a run trains it."""

    def __init__(
        self, method: Method, protocol: Protocol, device: torch.device, batches: Batches, compile_mode: str = "none"
    ) -> None:
        choose_execution(method, protocol, device, recompute="never", compile_mode=compile_mode)
        method.prepare = lambda data, cache: None  # what it would find was drawn
        self.method, self.protocol, self.batches = method, protocol, batches

    def train(self, updates: int, report_every: int | None = None) -> list[float]:
        """Losses at the reports, penalties included.

        Without ``report_every`` there is one report, and no values of penalties on weights alone: a run looks at
        them every 50 updates, these calls are shorter.
        """
        losses = []
        ask = self.method.penalties if report_every else dict
        penalties = {name: penalty.value().item() for name, penalty in ask().items()}

        def note(_updates: int, _lr: float, terms: Mapping[str, float]) -> None:
            after = {name: terms[name] for name in penalties}  # the other terms were found before the update
            losses.append(sum(terms.values()) - sum(after.values()) + sum(penalties.values()))
            penalties.update(after)

        self.method.penalties = ask
        fit(
            self.method,
            cast(TargetData, SimpleNamespace(train=Drawn(self.batches))),
            replace(self.protocol, updates=updates),
            seed=0,
            cache=Cache(Path()),
            report=note,
            report_every=report_every or updates,
        )
        del self.method.penalties  # the class has its own
        return losses


def built(setting: Setting, name: str, precision: str) -> tuple[Method, Protocol]:
    """A method with random weights, running statistics that fit them, and drawn attention or relationship."""
    config = compose_config([*setting.overrides, f"method={name}", f"precision={precision}"])
    protocol = Protocol(**OmegaConf.to_container(config.protocol, resolve=True))  # pyright: ignore
    backbone = build(config.backbone, cache=Path())
    torch.manual_seed(0)
    settle(backbone.trunk, torch.randn(32, len(backbone.info.mean), protocol.crop, protocol.crop))
    method = build(config.method, backbone, setting.classes, drop=["name", "tune"])
    for key, values in method.named_buffers(recurse=False):
        if key.startswith("attention") or key == "relationship":
            values.copy_(torch.softmax(torch.randn_like(values), dim=-1))
    return method, protocol


@torch.no_grad()
def settle(trunk: nn.Module, images: Tensor) -> None:
    """Makes residual branches small and gives batch normalisation the statistics of these images."""
    norms = {name: module for name, module in trunk.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, norm in norms.items():
        norm.momentum = 1.0
        if name.endswith(".bn3"):
            nn.init.constant_(norm.weight, 0.1)
    trunk.train()(images)
    for norm in norms.values():
        norm.momentum = 0.1


def noise(setting: Setting, method: Method, pixels: int, size: int, device: torch.device) -> Batches:
    """Three batches of this size, channels last, as the data path hands them out."""
    draw = torch.Generator().manual_seed(1)
    shape = (size, next(method.trunk.parameters()).shape[1], pixels, pixels)
    images = [torch.randn(shape, generator=draw).to(device, memory_format=torch.channels_last) for _ in range(3)]
    return [(one, torch.randint(setting.classes, shape[:1], generator=draw).to(device)) for one in images]
