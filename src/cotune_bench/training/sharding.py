"""Parameters of a run on several devices in parts, one in each process (FSDP2: torch's ``fully_shard``)."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from cotune_bench.backbones.trunk import leaves
from cotune_bench.parallel import world

#: Methods whose parts can be replaced while they train: nothing else refers to their parameters.
SHARDABLE = (
    "bss",
    "cotuning",
    "delta",
    "distill",
    "feature_extractor",
    "finetune",
    "last_k",
    "lwf",
    "random_start",
    "stochastic_blocks",
)


@contextmanager
def sharded(method: nn.Module) -> Iterator[None]:
    """Replace each trained part of a method by a copy with sharded parameters, and afterwards give it their values.

    A layer's parameters are whole while it computes.
    """
    children = dict(method.named_children())
    parts = {name: one for name, one in children.items() if any(own.requires_grad for own in one.parameters())}
    layouts = [one.stride() for part in parts.values() for one in part.parameters()]
    for name, part in parts.items():
        setattr(method, name, _sharded(part))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*returned a view tensor")  # features, which nothing changes in place
        yield
    for name, part in parts.items():
        for own, piece in zip(part.parameters(), getattr(method, name).parameters(), strict=True):
            own.data = torch.empty_strided(piece.shape, layouts.pop(0), device=own.device).copy_(piece.full_tensor())
        setattr(method, name, part)


def _sharded(part: nn.Module) -> nn.Module:
    """A copy of a part of a method with its buffers and sharded parameters, which it takes from the part."""
    own = list(part.parameters())
    known = {id(one): one for one in part.buffers()}
    known |= {id(one): nn.Parameter(one.detach().contiguous(), one.requires_grad) for one in own}
    twin = copy.deepcopy(part, known)
    device = own[0].device
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where fully_shard computes
    mesh = init_device_mesh(device.type, (world(),))
    for _, layer in leaves(twin) if isinstance(twin, nn.Sequential) else ():
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(twin, mesh=mesh)
    for one in own:
        one.data = one.data.new_empty(0)
    return twin


def whole(value: Any) -> Any:
    """The same state with each sharded tensor gathered, on the host; all processes must call it."""
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def shard_state(optimizer: torch.optim.Optimizer) -> None:
    """Divide the state that an optimiser has loaded as its parameters are divided."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = distribute_tensor(value, parameter.device_mesh, parameter.placements)
