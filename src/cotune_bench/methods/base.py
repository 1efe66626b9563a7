"""The contract between a method of fine-tuning and the one engine that optimises it."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.backbones.precision import in_precision
from cotune_bench.data.target import TargetData
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache


class Method(nn.Module):
    """Plain fine-tuning's network, a pre-trained trunk under a new head, and what a method may change of it.

    A method takes its backbone over and trains it in place.

    Args:
        backbone: the pre-trained network.
        num_classes: K, the number of target classes.
        head_init: ``normal`` draws the head from N(0, 0.01) with zero bias, ``torch`` keeps the library's default.
    """

    #: True where penalties stand for weight decay; the optimiser then applies none.
    replaces_weight_decay: ClassVar[bool] = False
    #: True where ``prepare`` finds everything and there is nothing to optimise.
    solved: ClassVar[bool] = False
    #: Whether ``torch.compile`` may be used on the trunk.
    compilable: ClassVar[bool] = True
    #: Of the trunk while it trains and predicts: fp32, tf32 or bf16.
    precision: str = "fp32"

    def __init__(self, backbone: Backbone, num_classes: int, *, head_init: str = "normal") -> None:
        super().__init__()
        self.trunk = backbone.trunk
        self.head = nn.Linear(backbone.width, num_classes)
        if head_init == "normal":
            nn.init.normal_(self.head.weight, std=0.01)
            nn.init.zeros_(self.head.bias)

    def check(self, data: TargetData) -> None:
        """Raise UserError if the method cannot be used on this data; nothing by default."""

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """One-off statistics of the training images, before any update; nothing by default."""

    def preparation(self, images: int) -> float:
        """Passes of an image through the trunk that ``prepare`` takes, about, for so many training images."""
        return 0.0

    def artifacts(self) -> dict[str, str]:
        """What ``prepare`` found that the run's folder is to keep: texts by file name, none by default."""
        return {}

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named, weighted scalar terms for images (B, C, H, W) and labels (B,); their sum is optimised.

        Not asked for where ``solved``.
        """
        raise NotImplementedError

    def add_gradients(self) -> None:
        """Add the gradients of penalties on weights alone, which need no backward pass; none by default."""

    def penalties(self) -> dict[str, Tensor]:
        """The values of these penalties, asked for now and then; they are terms of the loss like the others."""
        return {}

    def features(self, images: Tensor) -> Tensor:
        """Features (B, width) of the trunk in float32."""
        # Not compiled in evaluation: other shapes, each of which would take a minute to gain seconds.
        trunk = self.trunk if self.training else self.trunk.forward
        return in_precision(self.precision, trunk, images)

    def predict(self, images: Tensor) -> Tensor:
        """Logits (B, K)."""
        return self.head(self.features(images))

    def plain(self) -> tuple[nn.Module, nn.Linear] | None:
        """Trunk and head that alone predict what the method does, which is what can be kept; None without such."""
        own = type(self)
        changed = any(getattr(own, name) is not getattr(Method, name) for name in ("forward", "predict", "features"))
        return None if changed else (self.trunk, self.head)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """What is trained from pre-trained values, at the smaller learning rate."""
        return list(self.trunk.parameters())

    def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
        """Optimiser groups: pre-trained weights at ``lr * backbone_ratio``, the new head at ``lr``."""
        groups = [
            {"name": "pretrained", "params": self.pretrained_parameters(), "lr": lr * backbone_ratio},
            {"name": "head", "params": list(self.head.parameters()), "lr": lr},
        ]
        if self.replaces_weight_decay:
            groups = [{**group, "weight_decay": 0.0} for group in groups]
        return groups

    def forward(self, images: Tensor) -> Tensor:
        """Same as ``predict``."""
        return self.predict(images)


def require_positive(name: str, values: Sequence[float]) -> None:
    """UserError unless these values of a method's setting are above 0, and there is one."""
    if not values or min(values) <= 0:
        raise UserError(f"method.{name}={list(values)} cannot be used: give values above 0")


def pull(parameters: Sequence[nn.Parameter], towards: Sequence[Tensor] | None, strength: float) -> None:
    """Add the gradient of :func:`squared_distance` times ``strength`` to each parameter's; two kernels on a GPU.

    A parameter without a gradient takes no part in the network and is where it started.
    """
    goals = towards if towards is not None else [None] * len(parameters)
    rows = [(p.grad, p.detach(), goal) for p, goal in zip(parameters, goals, strict=True) if p.grad is not None]
    gradients, values, kept = map(list, zip(*rows, strict=True))
    if towards is not None:
        values = torch._foreach_sub(values, kept)  # pyright: ignore[reportPrivateImportUsage]
    torch._foreach_add_(gradients, values, alpha=strength)  # pyright: ignore


def squared_distance(parameters: Sequence[Tensor], towards: Sequence[Tensor] | None = None) -> Tensor:
    """1/2 sum of squared distances of parameters to other values of their shapes, to zero by default."""
    values = [parameter.detach() for parameter in parameters]
    if towards is not None:
        values = torch._foreach_sub(values, list(towards))  # pyright: ignore[reportPrivateImportUsage]
    norms = torch._foreach_norm(values)  # pyright: ignore[reportPrivateImportUsage]
    return 0.5 * torch.stack(norms).square().sum()
