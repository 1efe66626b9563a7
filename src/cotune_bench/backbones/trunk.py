"""A trunk that can trade time for memory."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class Trunk(nn.Sequential):
    """A trunk that can compute early maps anew in the backward pass instead of keeping them: same bits, less memory.

    Args:
        layers: named stages, as for ``nn.Sequential``.
        parts: where it is cut, as the name of the last layer, inside nested ``nn.Sequential``, of every part but the
            last; the maps inside these parts are the ones that need not be kept.
    """

    def __init__(self, layers: "OrderedDict[str, nn.Module]", parts: Sequence[str] = ()) -> None:
        super().__init__(layers)
        self.parts = tuple(parts)
        self.recompute = False

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, width) of images (B, C, H, W)."""
        if not (self.recompute and torch.is_grad_enabled()):
            return super().forward(images)
        maps = images
        *early, last = self._cut()
        for part in early:
            maps = checkpoint(part, maps, use_reentrant=False, context_fn=partial(_contexts, part))
        return last(maps)

    def _cut(self) -> Iterator[nn.Sequential]:
        layers = list(leaves(self))
        for name in self.parts:
            inside = [place for place, (path, _) in enumerate(layers) if f"{path}.".startswith(f"{name}.")]
            yield nn.Sequential(*(layer for _, layer in layers[: inside[-1] + 1]))
            del layers[: inside[-1] + 1]
        yield nn.Sequential(*(layer for _, layer in layers))


def leaves(module: nn.Sequential, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """What nested Sequentials run, one after another, with full names; a residual block is one of them."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential):
            yield from leaves(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _contexts(part: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """For the first and the second computation of a part."""
    return nullcontext(), _statistics_left_alone(part)


@contextmanager
def _statistics_left_alone(part: nn.Module) -> Iterator[None]:
    """Batch normalisation notes a batch once, however often it is computed."""
    norms = [module for module in part.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
