"""Where and how a network computes: device, threads, precision, memory layout. Runs and kept networks share it."""

import ctypes
import os

import torch
from threadpoolctl import threadpool_limits

from cotune_bench.backbones.precision import resolve
from cotune_bench.backbones.trunk import Trunk
from cotune_bench.config.protocol import Protocol, channels_last
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method

#: Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free, for the next ones: else the system hands out and clears every page again.

    Peak memory hardly changes; other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**28)):
            mallopt(option, value)


def set_threads(count: int | None) -> None:
    """Fix the threads of torch and BLAS, whatever the launcher set: sums depend on them in their last bits."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = count or available or 1  # a Slurm job is given some of the cores
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    # Some CUDA operators have no deterministic form. The better known use_deterministic_algorithms() imports all of
    # torch.compile for it, which takes seconds.
    torch.set_deterministic_debug_mode("warn")
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010  # nothing here reads memory it has not written
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for


def choose_execution(
    method: Method, protocol: Protocol, device: torch.device, *, recompute: str = "never", compile_mode: str = "none"
) -> None:
    """Precision, memory layout, memory and compilation of a method's trunk; UserError where they do not fit."""
    compute_as(method, resolve(protocol.precision, device), protocol.crop)
    if recompute == "always":
        for part, able in (("method", method.recomputable), ("backbone", isinstance(method.trunk, Trunk))):
            if not able:
                raise UserError(
                    f"recompute=always cannot be used with this {part}: use a smaller protocol.batch_size"
                )
        method.trunk.recompute = True  # pyright: ignore[reportArgumentType]
    if compile_mode != "none":
        if not method.compilable:
            raise UserError(f"compile={compile_mode} cannot be used with this method: use compile=none")
        method.trunk.compile(mode=compile_mode)


def compute_as(method: Method, precision: str, crop: int) -> None:
    """Give a method this precision, and the memory layout of networks that see crops of this many pixels."""
    method.precision = precision
    if channels_last(crop):
        method.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def devices(name: str) -> list[torch.device]:
    """The devices that ``name`` allows: all GPUs for ``auto`` if there are any, else the CPU. A run takes the first.

    Raises:
        UserError: there is no such device.
    """
    try:
        first = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(first if name == "auto" else name)
        if device.type != "cuda":
            torch.empty(1, device=device)
            return [device]
    except (RuntimeError, AssertionError) as error:
        known = not str(error).startswith("Expected one of")  # which lists every device that torch ever knew
        raise _no_device(name, str(error).splitlines()[0] if known else "there is no such device") from error
    count = torch.cuda.device_count()  # without a look at the GPU itself, which others may be using
    if name == "auto":
        return [torch.device("cuda", index) for index in range(count)]
    if (device.index or 0) >= count:
        raise _no_device(name, f"{count} GPUs are visible")
    return [torch.device("cuda", device.index or 0)]


def _no_device(name: str, reason: str) -> UserError:
    return UserError(f"device={name} cannot be used ({reason}): choose auto, cpu or cuda:0")
