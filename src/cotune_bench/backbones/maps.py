"""Feature maps of a network that is never trained, without what only its training would need."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cotune_bench.backbones.base import Frozen, tap

log = logging.getLogger(__name__)

READERS = {nn.BatchNorm2d, nn.AvgPool2d, torch.cat, "output"}


class FrozenMaps(Frozen):
    """The outputs of named layers of a copy that never changes.

    Where torch.fx can follow the network's code, and nothing there changes these outputs in place, nothing after the
    last of them is computed, and batch normalisation is done by the convolution before it: maps differ by rounding.

    Args:
        module: from images to anything.
        layers: names of its layers.
    """

    def __init__(self, module: nn.Module, layers: Sequence[str]) -> None:
        super().__init__(module)
        self.layers = tuple(layers)
        self.module = _follow(self.module, self.layers) or self.module

    def forward(self, images: Tensor) -> list[Tensor]:
        """A tensor (B, C, H, W) for each layer, in the order of the names."""
        if isinstance(self.module, fx.GraphModule):
            return self.module(images)
        with tap(self.module, self.layers) as maps:
            self.module(images)
        return [maps[layer] for layer in self.layers]


def _follow(module: nn.Module, layers: Sequence[str]) -> fx.GraphModule | None:
    """What a module computes from images to the outputs of the layers; None if its code cannot be followed."""
    try:
        found = fx.symbolic_trace(module)
    except Exception as error:  # whatever a network's own code says to a tracer
        log.debug("the frozen network runs as it is: %s", error)
        return None
    calls = {node.target: node for node in found.graph.nodes if node.op == "call_module"}
    kept = [calls.get(layer) for layer in layers]
    if not all(node and _only_read(node, found) for node in kept):
        log.debug(
            "the frozen network runs as it is: of %s, one is hidden or may be changed in place", ", ".join(layers)
        )
        return None
    *_, output = found.graph.nodes
    output.args = (kept,)
    found.graph.eliminate_dead_code()
    _fold_batch_norm(found)
    found.delete_all_unused_submodules()
    found.recompile()
    return found


def _only_read(node: fx.Node, module: fx.GraphModule) -> bool:
    """Whether those that use an output are known not to change it: without them it would be another."""
    users = (type(module.get_submodule(str(u.target))) if u.op == "call_module" else u.target for u in node.users)
    return set(users) <= READERS


def _fold_batch_norm(module: fx.GraphModule) -> None:
    """Do normalisation by the convolution before it, where nothing else sees that one's output."""
    for conv, norm in list(_pairs(module)):
        name = str(conv.target)
        parts = module.get_submodule(name), module.get_submodule(str(norm.target))
        module.set_submodule(name, fuse_conv_bn_eval(*parts))  # pyright: ignore[reportArgumentType]
        norm.replace_all_uses_with(conv)
        module.graph.erase_node(norm)


def _pairs(module: fx.GraphModule) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Convolutions and the normalisation that alone uses their output, each called once.

    Subclasses may do more than their parents and are left alone.
    """
    calls = Counter(node.target for node in module.graph.nodes)
    for norm in module.graph.nodes:
        if _calls(norm, module, nn.BatchNorm2d):
            (conv,) = norm.all_input_nodes
            if _calls(conv, module, nn.Conv2d) and len(conv.users) == 1 == calls[conv.target] == calls[norm.target]:
                yield conv, norm


def _calls(node: fx.Node, module: nn.Module, kind: type[nn.Module]) -> bool:
    return node.op == "call_module" and type(module.get_submodule(str(node.target))) is kind
