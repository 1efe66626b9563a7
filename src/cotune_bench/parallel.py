"""One run on several devices: what its processes exchange.

Every process holds the whole network and the whole batch. The trunk, which takes the time, works on the process's own
rows. Features are gathered, and everything else is computed everywhere from the whole batch: random numbers, queues
and losses of pairs of images are those of one process, and results agree up to the rounding of sums.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cotune_bench.errors import UserError

#: Layers that draw numbers for each image: the processes would draw others than one does.
DRAWING = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "StochasticDepth", "DropPath")


_alone = False


def world() -> int:
    """Number of processes that share the work."""
    return dist.get_world_size() if not _alone and dist.is_available() and dist.is_initialized() else 1


@contextmanager
def alone() -> Iterator[None]:
    """For what each process computes by itself, of whole batches."""
    global _alone
    _alone = True
    try:
        yield
    finally:
        _alone = False


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if world() > 1 else 0


def own_rows(rows: Tensor) -> Tensor:
    """This process's part of the rows of a batch."""
    size = len(rows) // world()
    return rows[rank() * size : (rank() + 1) * size]


_inside = False  # a divided pass


@contextmanager
def inside() -> Iterator[None]:
    """For a pass of this process's own rows: its layers share what they take from the whole batch."""
    global _inside
    before, _inside = _inside, world() > 1
    try:
        yield
    finally:
        _inside = before


def divided(run: Callable[..., Tensor], *batch: Tensor) -> Tensor:
    """The rows that ``run`` gives for a training batch, of which each process computes its own."""
    if world() == 1 or not torch.is_grad_enabled():
        return run(*batch)
    with inside():
        rows = run(*map(own_rows, batch))
    return _Gathered.apply(rows)  # type: ignore[no-any-return]


def total(values: Tensor) -> Tensor:
    """Sum over all processes, with a gradient."""
    return _Total.apply(values) if world() > 1 else values  # type: ignore[no-any-return]


def batch_mean(rows: Tensor) -> Tensor:
    """Mean of rows (B, ...) of a layer over the whole batch, with a gradient."""
    return total(rows.mean(dim=0)) / world() if _inside else rows.mean(dim=0)


def first_s(number: int) -> int:
    """A number of the first process, for all to act on."""
    if world() == 1:
        return number
    value = torch.tensor([number])
    dist.broadcast(value, 0)
    return int(value)


def gathered(value: Any) -> list:
    """The value of each process, any object."""
    values = [None] * world()
    if world() == 1:
        return [value]
    dist.all_gather_object(values, value)
    return values


class _Gathered(torch.autograd.Function):
    """The rows of all processes.

    All of them compute the same loss from these, and DistributedDataParallel divides the sum of their gradients by
    their number: hence the factor.
    """

    @staticmethod
    def forward(_ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return world() * own_rows(gradient)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        values = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient


def check_divisible(method: nn.Module, batch_size: int, devices: int) -> None:
    """UserError unless so many processes can share the batches of a method."""
    if batch_size % devices:
        raise UserError(f"devices={devices} cannot be used: they cannot share a batch of {batch_size} images equally")
    if not getattr(method, "divisible", True):
        raise UserError(f"devices={devices} cannot be used with this method: use devices=1")
    for layer in method.get_submodule("trunk").modules():
        if type(layer).__name__ in DRAWING and getattr(layer, "p", getattr(layer, "drop_prob", 0)):
            raise UserError(
                f"devices={devices} cannot be used with this backbone, whose {type(layer).__name__} draws numbers "
                "for each image: use devices=1"
            )


@contextmanager
def together(method: nn.Module, *, sync_batch_norm: bool = True, sharded: bool = False) -> Iterator[nn.Module]:
    """A method whose call also sums its gradients over all processes.

    Args:
        sync_batch_norm: whether batch statistics are those of the whole batch; else each process has its own, and
            the method ends with the running statistics of the first, as DistributedDataParallel has it.
        sharded: whether the method's parts sum their gradients themselves.
    """
    if world() == 1:
        yield method
        return
    with ExitStack() as stack:
        if sync_batch_norm:
            stack.enter_context(_normalizing([one for one in method.modules() if isinstance(one, nn.BatchNorm2d)]))
        if sharded:
            yield method
        else:
            # The option will have another name; gradients of channels_last weights are copied once more.
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated|Grad strides do not match")
            yield DistributedDataParallel(method, broadcast_buffers=False)
    if not sync_batch_norm:
        for buffer in method.buffers():
            dist.broadcast(buffer, 0)


@contextmanager
def _normalizing(norms: list[nn.BatchNorm2d]) -> Iterator[None]:
    """Layers with batch statistics of whole batches."""
    for norm in norms:
        norm.forward = partial(_normalized, norm)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normalized(norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    """Maps of a layer of batch normalisation, in a divided pass by the statistics of the whole batch."""
    if not (_inside and norm.training):
        return type(norm).forward(norm, maps)
    wide = maps.float()
    mean = total(wide.mean(dim=(0, 2, 3))) / world()
    centred = wide - mean[:, None, None]
    var = total(centred.square().mean(dim=(0, 2, 3))) / world()
    with torch.no_grad():
        count, batches = world() * wide.numel() // len(mean), norm.num_batches_tracked
        if batches is not None:  # None: the maps are computed a second time, with momentum 0
            batches.add_(1)
        momentum = norm.momentum if norm.momentum is not None or batches is None else 1 / float(batches)
        for running, value in ((norm.running_mean, mean), (norm.running_var, var * count / (count - 1))):
            if running is not None and momentum is not None:
                running.lerp_(value, momentum)
    scale = (var + norm.eps).rsqrt() * norm.weight
    found = centred * scale[:, None, None] + norm.bias[:, None, None]
    for part in ("drop", "act"):  # timm's layers contain what follows them
        found = getattr(norm, part)(found) if hasattr(norm, part) else found
    return found.to(maps.dtype)
