"""The number format of the trunk's arithmetic; heads, losses and penalties have float32 or better.

But ``tf32`` is a state of the whole GPU: there, the products of the heads are TF32, too, and their sums float32.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cotune_bench.errors import UserError


def resolve(name: str, device: torch.device) -> str:
    """What ``auto`` means on a device: bf16 where it is much faster, on GPUs from Ampere on and CPUs made for it.

    Raises:
        UserError: the device does not have this format.
    """
    if name == "auto":
        return "bf16" if _has_bf16(device) else "fp32"
    if name == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        raise UserError(f"precision=tf32 needs a GPU from Ampere on and this run is on {device}: use fp32 or auto")
    return name


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")  # torch reports both under private names only
    found = cpuinfo.read_text(encoding="utf-8") if device.type == "cpu" and cpuinfo.exists() else ""
    return " amx_bf16" in found or " avx512_bf16" in found


@contextmanager
def autocast(precision: str, device: torch.device) -> Iterator[None]:
    """Context in which torch chooses what is computed in bf16, if that is the precision."""
    with ExitStack() as stack:
        if precision == "bf16":
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
            if device.type == "cpu":
                stack.enter_context(_DepthwiseInFloat32())
        yield


class _DepthwiseInFloat32(TorchFunctionMode):
    """Depthwise convolutions with a stride or a large kernel in float32: oneDNN's bf16 gradients are slow."""

    def __torch_function__(
        self, function: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not torch.conv2d:
            return function(*args, **kwargs)
        images, weight, *others = args
        stride = others[1] if len(others) > 1 else kwargs.get("stride", 1)
        one_by_one = stride in (1, (1, 1), [1, 1])
        if weight.shape[1] > 1 or weight.shape[0] == 1 or (one_by_one and weight.shape[-1] <= 3):
            return function(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return function(images.float(), weight, *others, **kwargs).bfloat16()


def in_precision(precision: str, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """``network(images)`` under autocast if the precision is bf16; the result is float32."""
    if precision != "bf16":
        return network(images)
    with autocast(precision, images.device):
        return network(images).float()


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Matrix products and convolutions of a GPU in TF32 for ``tf32``, in float32 for all others.

    torch's own default is TF32 for convolutions.
    """
    parts = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # pyright: ignore[reportAttributeAccessIssue]
    before = [part.fp32_precision for part in parts]
    for part in parts:
        part.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        for part, kept in zip(parts, before, strict=True):
            part.fp32_precision = kept
