"""A trunk that can trade time for memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cotune_bench.parallel import inside


class Trunk(nn.Sequential):
    """A trunk that can compute the maps inside its blocks again in the backward pass: same bits, less memory.

    Attributes:
        recompute: whether it does; off by default.
    """

    recompute = False

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, width) of images (B, C, H, W)."""
        if not (self.recompute and torch.is_grad_enabled()):
            return super().forward(images)
        maps = images
        for _, layer in leaves(self):
            if any(layer.children()):
                maps = checkpoint(layer, maps, use_reentrant=False, context_fn=partial(_contexts, layer))
            else:
                maps = layer(maps)
        return maps


def leaves(module: nn.Sequential, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """What nested Sequentials run, one after another, with full names; a residual block is one of them."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential):
            yield from leaves(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """For the first and the second computation of a block."""
    return nullcontext(), _second_time(block)


@contextmanager
def _second_time(block: nn.Module) -> Iterator[None]:
    """Batch normalisation counts a batch once, however often it is computed."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        with inside():
            yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
