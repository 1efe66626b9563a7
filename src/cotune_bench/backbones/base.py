"""What every method may expect of a pre-trained network."""

import copy
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from cotune_bench.backbones.plain_network import Plain
from cotune_bench.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceInfo:
    """Description of the weights beside their values: everything that a record states about them.

    Attributes:
        weights: name of the weights, e.g. ``IMAGENET1K_V1`` or ``random``.
        sha256: hex digest of the weights.
        classes: names of the S source classes, in the order of the source head's outputs.
        mean, std: per channel, of images scaled to [0, 1]; what the weights were trained with.
        temperature: calibrated softmax temperature of the source head: one, or what is known of it by crop in pixels.
    """

    weights: str
    sha256: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    temperature: float | Mapping[int, float] = 1.0

    def temperature_at(self, crop: int) -> float:
        """That of images of ``crop`` pixels; 1, with a warning for trained weights, if it is not known."""
        if not isinstance(self.temperature, Mapping):
            return self.temperature
        if crop not in self.temperature and self.weights != "random":
            log.warning(
                "the temperature of the source softmax of %s is not known for crops of %d pixels: 1 is used; "
                "backbone.temperature_logits fits it on source images",
                self.weights,
                crop,
            )
        return self.temperature.get(crop, 1.0)


class Backbone(nn.Module):
    """A pre-trained network: a trunk from images (B, C, H, W) to features (B, width), and its source head.

    Args:
        name: the name of the configuration that made it.
        trunk: nested ``nn.Sequential`` of stages, so that a method can run a part of it.
        source_head: linear layer from the features to the S source classes; None for weights without a classifier.
        blocks: names of the residual blocks inside the trunk, first to last.
        taps: names of the convolutions, inside the trunk, whose maps DELTA compares.
        plain: how its own library builds it; None where a trained network cannot be kept.
        width: of the features; needed where there is no source head.
    """

    def __init__(
        self,
        name: str,
        trunk: nn.Sequential,
        source_head: nn.Linear | None,
        info: SourceInfo,
        *,
        blocks: Sequence[str] = (),
        taps: Sequence[str] = (),
        plain: Plain | None = None,
        width: int | None = None,
    ) -> None:
        super().__init__()
        known = dict(trunk.named_modules())
        for layer in (*blocks, *taps):
            if layer not in known:
                raise UserError(f"backbone {name} has no layer {layer}: correct blocks and taps in its yaml")
        self.name = name
        self.trunk = trunk
        self.source_head = source_head
        self.info = info
        self.width = width or self.required_source_head("a backbone without given width").in_features
        self.blocks = tuple(blocks)
        self.taps = tuple(taps)
        self.plain = plain

    def forward(self, images: Tensor) -> Tensor:
        """Source logits (B, S) of normalised images (B, C, H, W)."""
        return self.required_source_head("a prediction of source classes")(self.trunk(images))

    def required_source_head(self, what: str) -> nn.Linear:
        """The source head; UserError says that ``what`` needs one, which these weights do not have."""
        if self.source_head is None:
            raise UserError(
                f"{what} needs a source head, and the weights {self.info.weights} of backbone {self.name} have no "
                "classifier: choose weights of a classifier"
            )
        return self.source_head


class Frozen(nn.Module):
    """A copy of a module whose weights and batch statistics never change; gradients still flow to its input.

    Args:
        persistent: whether its weights are part of the state dict. Without, they are those of the module that the
            enclosing network is built on again, and no checkpoint holds them.
    """

    def __init__(self, module: nn.Module, *, persistent: bool = False) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        if not persistent:
            self.register_state_dict_post_hook(_forget)
            self.register_load_state_dict_pre_hook(_recall)

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in evaluation mode, whatever the mode of the enclosing module."""
        return super().train(False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the copied module gives."""
        return self.module(*inputs)


def _forget(_frozen: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: object) -> None:
    for name in [key for key in state if key.startswith(prefix)]:
        del state[name]


def _recall(frozen: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    for name, value in frozen.get_submodule("module").state_dict().items():
        state[f"{prefix}module.{name}"] = value


@contextmanager
def tap(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Outputs of the named submodules during the forward passes inside the context, in order of computation."""
    modules = dict(module.named_modules())
    outputs: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        outputs[name] = output

    handles = [modules[name].register_forward_hook(partial(keep, name)) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients inside the context; each submodule's own mode is back afterwards."""
    modes = [(module, module.training) for root in modules for module in root.modules()]
    for root in modules:
        root.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of a state dict: names and values, in order."""
    content = hashlib.sha256()
    for name, value in state.items():
        content.update(name.encode())
        content.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()
