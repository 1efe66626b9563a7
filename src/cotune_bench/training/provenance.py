"""What a record says of the machine, the libraries and the code that a run was made with."""

import os
import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch


def environment(device: torch.device) -> dict[str, object]:
    """What may explain a result without defining it."""
    return {
        "version": version("cotune_bench"),
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        **{
            package.replace("-", "_"): version(package)
            for package in ("torchvision", "scipy", "scikit-learn", "pillow")
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu_model(),
        "instructions": instructions(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "host": platform.node(),
    }


def cpu_model() -> str:
    """Name of the processor as the system gives it, empty where it gives none."""
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor()


def instructions() -> str:
    """Vector instructions of torch's own loops, such as ``AVX2``, and the limit set on oneDNN's, if there is one."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return torch.backends.cpu.get_cpu_capability() + (f", oneDNN {limit}" if limit else "")


def commit() -> str | None:
    """Commit of the checkout this package is imported from, ``-dirty`` if changed; None outside of a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
