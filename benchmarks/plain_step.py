"""The training step of five methods in the manner of their authors' loops: what step.py compares the engine with."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from cotune_bench.backbones.base import Frozen
from cotune_bench.backbones.precision import arithmetic
from cotune_bench.config.protocol import Protocol
from cotune_bench.methods.base import Method

Batches = Sequence[tuple[Tensor, Tensor]]


class Plain:
    """float32, contiguous maps, loops over parameters, and every penalty differentiated by autograd.

    Args:
        name: of the method.
        method: whose weights, statistics and settings are copied.
    """

    def __init__(self, name: str, method: Method, protocol: Protocol, batches: Batches) -> None:
        self.method: Any = copy.deepcopy(method).train()  # one of the five
        self.name, self.protocol = name, protocol
        self.batches = [(images.contiguous(), labels) for images, labels in batches]
        self.start = {key: value.detach().clone() for key, value in self.method.trunk.named_parameters()}
        self.maps: tuple[list[Tensor], list[Tensor]] = ([], [])  # of source and target
        if name == "delta":
            self.source = Frozen(self.method.trunk)
            for trunk, kept in zip((self.source.module, self.method.trunk), self.maps, strict=True):
                for layer in self.method.taps:
                    trunk.get_submodule(layer).register_forward_hook(keeper(kept))

    def train(self, updates: int) -> list[float]:
        """Losses of so many updates, penalties included."""
        groups = self.method.param_groups(self.protocol.lr, self.protocol.backbone_ratio)
        rules = {key: getattr(self.protocol, key) for key in ("lr", "momentum", "nesterov", "weight_decay")}
        optimizer = torch.optim.SGD(groups, **rules, foreach=False, fused=False)
        losses = []
        with arithmetic("fp32"):
            for step in range(updates):
                images, labels = self.batches[step % len(self.batches)]
                features = self.method.trunk(images)
                loss = cross_entropy(self.method.head(features), labels) + self.penalty(images, features, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return losses

    def penalty(self, images: Tensor, features: Tensor, labels: Tensor) -> Tensor | float:
        """What the method adds to the cross-entropy."""
        return 0.0 if self.name == "finetune" else getattr(self, self.name)(images, features, labels)

    def l2sp(self, *_: Tensor) -> Tensor:
        moved = (value - self.start[key] for key, value in self.method.trunk.named_parameters())
        return self.method.alpha * squares(moved) + self.method.beta * squares(self.method.head.parameters())

    def delta(self, images: Tensor, *_: Tensor) -> Tensor:
        self.source(images)
        total = self.method.beta * squares(self.method.head.parameters())
        for number, (source, target) in enumerate(zip(*self.maps, strict=True)):
            channels, height, width = target.shape[1:]
            distances = torch.norm((target - source.detach()).flatten(2), dim=2) ** 2
            weighted = self.method.get_buffer(f"attention{number}") * distances * channels / (height * width)
            total = total + 0.5 * self.method.alpha * weighted.sum()
        for kept in self.maps:
            kept.clear()
        return total

    def bss(self, _: Tensor, features: Tensor, *__: Tensor) -> Tensor:
        _, values, _ = torch.svd(features)
        total = features.new_zeros(())
        for place in range(self.method.k):
            total = total + values[-1 - place] ** 2
        return self.method.weight * total

    def cotuning(self, _: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        logs = log_softmax(self.method.source_head(features), dim=1)
        return -self.method.trade_off * (self.method.relationship[labels] * logs).sum(dim=1).mean()


def squares(values: Iterable[Tensor]) -> Tensor:
    """Half the sum of squares, tensor by tensor."""
    total: Tensor | float = 0.0
    for value in values:
        total = total + 0.5 * torch.norm(value) ** 2
    return total  # pyright: ignore[reportReturnType]


def keeper(kept: list[Tensor]) -> Callable[..., None]:
    """A forward hook that keeps the output."""

    def hook(_module: object, _inputs: object, output: Tensor) -> None:
        kept.append(output)

    return hook
