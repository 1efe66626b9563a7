"""The contract between a method of fine-tuning and the one engine that optimises it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.backbones.precision import in_precision
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Batch, Classification
from cotune_bench.errors import UserError, suggest
from cotune_bench.parallel import divided
from cotune_bench.storage.cache import Cache


@dataclass(frozen=True)
class Penalty:
    """``strength`` times half the squared distance of parameters to a reference: a loss term that needs no images.

    Its gradient is added by a formula, in a sixth of the time of automatic differentiation.

    Attributes:
        parameters: of the network; those without a gradient take no part in it and are not moved.
        reference: tensors of their shapes; None is zero.
        strength: weight of the term.
    """

    parameters: Sequence[nn.Parameter]
    reference: Sequence[Tensor] | None
    strength: float

    def value(self) -> Tensor:
        """The term, a scalar without gradient."""
        return self.strength * squared_distance(self.parameters, self.reference)

    def add_gradients(self) -> None:
        """Add ``strength * (parameter - reference)`` to each gradient; two kernels on a GPU."""
        goals = self.reference if self.reference is not None else [None] * len(self.parameters)
        rows = [(p.grad, p.detach(), goal) for p, goal in zip(self.parameters, goals, strict=True)]
        gradients, values, kept = map(list, zip(*(row for row in rows if row[0] is not None), strict=True))
        if self.reference is not None:
            values = torch._foreach_sub(values, kept)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_add_(gradients, values, alpha=self.strength)  # pyright: ignore


class Method(nn.Module):
    """Plain fine-tuning's network, a pre-trained trunk under a new head, and what a method may change of it.

    A method takes its backbone over and trains it in place. Its state dict holds what training changes and what
    prediction needs; with the configuration it is what is kept of a run.

    Args:
        backbone: the pre-trained network.
        num_classes: K, the number of target classes, or the task of the target data.
        head_init: ``normal`` draws the head from N(0, 0.01) with zero bias, ``torch`` keeps the library's default;
            None: as the protocol says when training begins.
    """

    #: True where penalties stand for weight decay; the optimiser then applies none.
    replaces_weight_decay: ClassVar[bool] = False
    #: True where ``prepare`` finds everything and there is nothing to optimise.
    solved: ClassVar[bool] = False
    #: Whether ``torch.compile`` may be used on the trunk.
    compilable: ClassVar[bool] = True
    #: Whether ``recompute=always`` may be used: blocks of the trunk are then computed again in the backward pass.
    recomputable: ClassVar[bool] = True
    #: Whether several devices can share a batch: the trunk then sees a part of its rows.
    divisible: ClassVar[bool] = True
    #: Augmented views of every training image in a batch.
    train_views: ClassVar[int] = 1
    #: Settings, attributes of the same names, that ``predict`` alone reads, with their values: a training gives a
    #: record for each value, under the key of a run with that setting.
    variants: ClassVar[Mapping[str, Sequence[str | float | None]]] = {}
    #: Of the trunk while it trains and predicts: fp32, tf32 or bf16.
    precision: str = "fp32"

    def __init__(
        self, backbone: Backbone, num_classes: int | Classification, *, head_init: str | None = None
    ) -> None:
        super().__init__()
        self.task = num_classes if isinstance(num_classes, Classification) else Classification(num_classes)
        self.weights_id = backbone.info.sha256
        self.trunk = backbone.trunk
        self.head_init = head_init
        self._random_state = torch.get_rng_state()
        self.head = self.task.head(backbone.width)
        if head_init != "torch":
            nn.init.normal_(self.head.weight, std=0.01)
            nn.init.zeros_(self.head.bias)

    def start_head(self, init: str) -> None:
        """Draw the head as this protocol asks, from the same random numbers, unless ``head_init`` was given."""
        if self.head_init is None and init == "torch":
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(self._random_state)
                drawn = self.task.head(self.head.in_features)
            self.head.load_state_dict(drawn.state_dict())

    def check(self, data: TargetData) -> None:
        """Raise UserError if the method cannot be used on this data; nothing by default."""

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """One-off statistics of the training images, before any update; nothing by default."""

    def preparation(self, images: int) -> float:
        """Passes of an image through the trunk that ``prepare`` takes, about, for so many training images."""
        return 0.0

    def artifacts(self) -> dict[str, str]:
        """Files that the run's folder keeps of ``prepare``: texts by file name, none by default."""
        return {}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named, weighted scalar terms, whose sum is optimised: by default ``ce`` alone. Not called where ``solved``.

        It is the module's call, so that ``DistributedDataParallel(method)(batch)`` is the same on many devices.
        """
        return {"ce": self.task.loss(self.head(self.features(batch.inputs)), batch.targets)}

    def penalties(self) -> dict[str, Penalty]:
        """Further terms by name, of weights alone; none by default."""
        return {}

    def after_step(self) -> None:
        """Called after every update, for copies that follow the weights; nothing by default."""

    def finish(self, data: TargetData) -> None:
        """Called once after the last update, for choices by the validation images; nothing by default."""

    def features(self, images: Tensor) -> Tensor:
        """Features (B, width) of the trunk in float32."""
        # Not compiled in evaluation: other shapes, each of which would take a minute to gain seconds.
        trunk = self.trunk if self.training else self.trunk.forward
        return divided(partial(in_precision, self.precision, trunk), images)

    def predict(self, images: Tensor) -> Tensor:
        """Logits (B, K)."""
        return self.head(self.features(images))

    def policies(self, images: Tensor) -> dict[str, Tensor]:
        """Whether each image is to use the trained copy of a block, (B,) of 0 and 1 by block; nothing by default."""
        return {}

    def plain(self) -> tuple[nn.Module, nn.Linear] | None:
        """Trunk and head that alone predict what the method does, and can be exported; None without such."""
        own = type(self)
        changed = any(getattr(own, name) is not getattr(Method, name) for name in ("predict", "features"))
        return None if changed else (self.trunk, self.head)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters trained from pre-trained values, at the smaller learning rate."""
        return list(self.trunk.parameters())

    def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
        """Optimiser groups: pre-trained weights at ``lr * backbone_ratio``, the new head at ``lr``.

        A group may have its own ``weight_decay``, and ``drop_at``, numbers of updates after which its rate drops.
        """
        groups = [
            {"name": "pretrained", "params": self.pretrained_parameters(), "lr": lr * backbone_ratio},
            {"name": "head", "params": list(self.head.parameters()), "lr": lr},
        ]
        if self.replaces_weight_decay:
            groups = [{**group, "weight_decay": 0.0} for group in groups]
        return groups


def require_positive(name: str, values: Sequence[float]) -> None:
    """UserError unless these values of a method's setting are above 0, and there is one."""
    if not values or min(values) <= 0:
        raise UserError(f"method.{name}={list(values)} cannot be used: give values above 0")


def require_at_least(least: float, **settings: float) -> None:
    """UserError unless these settings of a method are ``least`` or more."""
    for name, value in settings.items():
        if value < least:
            raise UserError(f"method.{name}={value} cannot be used: it must be {least:g} or more")


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """UserError unless this setting of a method has one of these values."""
    if value not in choices:
        raise UserError(f"method.{name}={value} is unknown: {suggest(value, choices)}")


def squared_distance(parameters: Sequence[Tensor], reference: Sequence[Tensor] | None = None) -> Tensor:
    """1/2 sum of squared distances of parameters to other values of their shapes, to zero by default."""
    values = [parameter.detach() for parameter in parameters]
    if reference is not None:
        values = torch._foreach_sub(values, list(reference))  # pyright: ignore[reportPrivateImportUsage]
    norms = torch._foreach_norm(values)  # pyright: ignore[reportPrivateImportUsage]
    return 0.5 * torch.stack(norms).square().sum()
