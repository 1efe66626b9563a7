"""The number format of the trunk's arithmetic; heads, losses and penalties have float32 or better.

But ``tf32`` is a state of the whole GPU: there, the products of the heads are TF32, too, and their sums float32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from cotune_bench.errors import UserError


def resolve(name: str, device: torch.device) -> str:
    """What ``auto`` means on a device: bf16 where it is much faster, on GPUs from Ampere on and CPUs with AMX.

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
    cpuinfo = Path("/proc/cpuinfo")  # torch reports AMX under private names only
    return device.type == "cpu" and cpuinfo.exists() and " amx_bf16" in cpuinfo.read_text(encoding="utf-8")


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Context in which torch chooses what is computed in bf16, if that is the precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


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
