"""Combine: the terms of several methods on one trunk and one head."""

from collections.abc import Sequence
from itertools import combinations

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.config import CONF, build, check_choice
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Batch, Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method, Penalty
from cotune_bench.storage.cache import Cache

#: What a method overrides if it changes what the trunk computes or which of its weights are trained and how.
CHANGES = ("features", "predict", "plain", "param_groups")


class Combine(Method):
    """The named terms of several methods, each with the settings of its yaml, on one trunk and one head.

    The cross-entropy counts once, and all see the features of one pass. A method whose weight is 0 changes nothing.

    Args:
        of: names of the methods, two or more.
        settings: other values than their yaml files have, by method.

    Raises:
        UserError: two of them cannot be combined, or one with any.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        of: Sequence[str],
        settings: dict[str, dict] | None = None,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        if len(of) < 2 or len(set(of)) < len(of):
            raise UserError(f"method.of={list(of)} cannot be used: name two or more different methods")
        if unknown := set(settings or {}) - set(of):
            raise UserError(f"method.settings names {', '.join(sorted(unknown))}, which method.of does not")
        parts: dict[str, Method] = {}
        changed, layers = [], _layers(self.trunk)
        for name in of:
            part = parts[name] = self._part(name, backbone, (settings or {}).get(name, {}))
            found = _layers(self.trunk)
            if found != layers or any(getattr(type(part), one) is not getattr(Method, one) for one in CHANGES):
                changed.append(name)
            layers = found
        _refuse(parts, changed)
        self.lead = changed[0] if changed else None
        self._own_features = parts[self.lead].features if self.lead else super().features
        self.replaces_weight_decay = any(part.replaces_weight_decay for part in parts.values())  # pyright: ignore
        self.compilable = all(part.compilable for part in parts.values())  # pyright: ignore
        self.recomputable = all(part.recomputable for part in parts.values())  # pyright: ignore
        self.divisible = all(part.divisible for part in parts.values())  # pyright: ignore
        self.train_views = max(part.train_views for part in parts.values())  # pyright: ignore
        for part in parts.values():  # trunk and head are in the state dict once
            for shared in ("trunk", "head"):
                del part._modules[shared]
                object.__setattr__(part, shared, getattr(self, shared))
            object.__setattr__(part, "features", self._shared_features)
        # Hooks on inner layers need to be there when the one pass is made.
        order = sorted(parts, key=lambda name: not hasattr(parts[name], "taps"))
        self.parts = nn.ModuleDict({name: parts[name] for name in order})
        self._seen: Tensor | None = None

    def _part(self, name: str, backbone: Backbone, settings: dict) -> Method:
        """A method as it is alone, from the same random numbers, but with this head."""
        check_choice("method", name)
        yaml = OmegaConf.load(CONF / "method" / f"{name}.yaml")
        if name in ("combine", "random_start") or not set(settings) <= set(yaml):  # pyright: ignore
            raise UserError(f"method {name} cannot be combined, or has no settings {', '.join(settings)}")
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random_state)
            section = OmegaConf.merge(yaml, settings)
            return build(section, backbone, self.task, drop=["name", "tune", "defaults"])  # pyright: ignore

    def _shared_features(self, images: Tensor) -> Tensor:
        if self._seen is None:
            self._seen = self._own_features(images)
        return self._seen

    def _methods(self) -> list[Method]:
        return list(self.parts.values())  # pyright: ignore[reportReturnType]

    def check(self, data: TargetData) -> None:
        """Those of all."""
        for part in self._methods():
            part.check(data)

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Those of all, on the untrained network."""
        for part in self._methods():
            part.prepare(data, cache)

    def preparation(self, images: int) -> float:
        """Their sum."""
        return sum(part.preparation(images) for part in self._methods())

    def artifacts(self) -> dict[str, str]:
        """Those of all."""
        return {name: text for part in self._methods() for name, text in part.artifacts().items()}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce`` once and the other terms of all."""
        self._seen = None
        terms: dict[str, Tensor] = {}
        for part in self._methods():
            part.precision = self.precision
            terms = {**part(batch), **terms}
        self._seen = None
        return {"ce": terms.pop("ce"), **terms}

    def penalties(self) -> dict[str, Penalty]:
        """Those of all."""
        return {name: one for part in self._methods() for name, one in part.penalties().items()}

    def after_step(self) -> None:
        """Those of all."""
        for part in self._methods():
            part.after_step()

    def finish(self, data: TargetData) -> None:
        """Those of all."""
        for part in self._methods():
            part.finish(data)

    def features(self, images: Tensor) -> Tensor:
        """Features (B, width) of the method that changes the trunk, else of the trunk."""
        return self._own_features(images)

    def predict(self, images: Tensor) -> Tensor:
        """Logits (B, K) of the method that changes the trunk, else of trunk and head."""
        if self.lead is None:
            return super().predict(images)
        self._seen, part = None, self.parts[self.lead]
        part.precision = self.precision  # pyright: ignore
        try:
            return part.predict(images)  # pyright: ignore
        finally:
            self._seen = None

    def plain(self) -> tuple[nn.Module, nn.Linear] | None:
        """Those of the method that changes the trunk, else trunk and head."""
        return (self.trunk, self.head) if self.lead is None else self.parts[self.lead].plain()  # pyright: ignore

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Those of all that are trained."""
        found = {id(one): one for part in self._methods() for one in part.pretrained_parameters()}
        return [one for one in found.values() if one.requires_grad]

    def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
        """Those of the method that changes the trunk, and what the others train besides."""
        if self.lead is None:
            return super().param_groups(lr, backbone_ratio)
        groups = self.parts[self.lead].param_groups(lr, backbone_ratio)  # pyright: ignore
        known = {id(one) for group in groups for one in group["params"]}
        groups[0]["params"] = [*groups[0]["params"], *(p for p in self.pretrained_parameters() if id(p) not in known)]
        decay = {"weight_decay": 0.0} if self.replaces_weight_decay else {}
        return [{**group, **decay} for group in groups]


def _refuse(parts: dict[str, Method], changed: list[str]) -> None:
    """UserError if two of them, or one with any, cannot be combined."""
    for name, part in parts.items():
        if part.solved:
            raise UserError(f"method {name} is solved without training: it cannot be combined")
    for one, other in combinations(parts, 2):
        if parts[one].replaces_weight_decay and parts[other].replaces_weight_decay:
            raise UserError(f"{one} and {other} both replace weight decay: combine one of them")
        if one in changed and other in changed:
            raise UserError(f"{one} and {other} both change the trunk or its training: combine one of them")


def _layers(trunk: nn.Module) -> list[tuple]:
    """What a method may change of a trunk when it is built: kinds of layers, and which parameters are trained."""
    kinds = [(name, type(module)) for name, module in trunk.named_modules()]
    return [*kinds, *((name, value.requires_grad) for name, value in trunk.named_parameters())]
