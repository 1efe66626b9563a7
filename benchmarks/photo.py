"""An update of EfficientNet-Lite0 on photographs, batch 32 at 128 pixels: a run's own way against the plain loop.

Ours is the engine as protocol=photo sets it up: bf16 where the CPU is made for it, channels last, freed memory kept.
The plain loop (plain_step.py) keeps float32 and contiguous maps. Each side is a process of its own, because what
glibc does with freed memory holds for a whole process. The losses of the first updates in float32 must agree to 1e-5;
weights are random, and such a network amplifies rounding errors, so the learning rate is 0.0003.
"""

import json
import resource
import subprocess
import sys

import torch
from harness import environment, parser, report, row
from plain_step import Plain
from step import Ours, Setting, built, noise

from cotune_bench.backbones.precision import resolve
from cotune_bench.inference.execution import keep_freed_memory, set_threads

SIDES = ("ours", "ours, fp32", "plain")
CPU = torch.device("cpu")


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--pixels", type=int, default=128)
    arguments.add_argument("--updates", type=int, default=6)
    arguments.add_argument("--side", choices=SIDES, help="measure this side alone, in this process")
    options = arguments.parse_args()
    if options.side:
        print(json.dumps(measured(options.side, options.pixels, options.updates, options.threads)))
        return
    runs: dict[str, list[dict]] = {side: [] for side in SIDES}
    given = [f"--pixels={options.pixels}", f"--updates={options.updates}", f"--threads={options.threads}"]
    for _ in range(options.rounds):
        for side in SIDES:
            command = [sys.executable, __file__, f"--side={side}", *given]
            runs[side].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))  # noqa: S603
    exact, plain = (runs[side][0]["losses"][:3] for side in SIDES[1:])
    off = max(abs(one - other) / abs(other) for one, other in zip(exact, plain, strict=True))
    if not off <= 1e-5:
        raise SystemExit(f"losses differ by {off:.1e}, more than 1e-5: {exact} and {plain}")
    seconds = {side: [run["seconds"] for run in found] for side, found in runs.items()}
    rows = [
        row(f"photo: {options.pixels} px, {side}", {"ours": seconds[side], "plain": seconds["plain"]})
        for side in SIDES[:2]
    ]
    peaks = {side: max(run["peak"] for run in found) for side, found in runs.items()}
    figures = {
        "environment": environment(options.threads, ("torch", "torchvision", "timm")),
        "precision": runs["ours"][0]["precision"],
        "largest relative difference of losses in fp32": off,
        "peak memory in MB": peaks,
        "rows": rows,
    }
    lines = [
        f"{found['what']:28} {found['ours']['median']:.2f} s of processor time an update, plain "
        f"{found['plain']['median']:.2f} s, {found['ratio']['median']:.2f} x ({found['ratio']['low']:.2f}-"
        f"{found['ratio']['high']:.2f})"
        for found in rows
    ]
    report(figures, [*lines, f"peak memory, MB: {peaks}"], options.json)


def measured(side: str, pixels: int, updates: int, threads: int) -> dict:
    """Processor seconds of an update and the losses of each side."""
    if side != "plain":
        keep_freed_memory()
    set_threads(threads)
    precision = resolve("auto", CPU) if side == "ours" else "fp32"
    size = (f"protocol.resize={pixels}", f"protocol.crop={pixels}")
    overrides = (
        "data=grocery",
        "backbone.weights=random",
        "protocol.lr=0.0003",
        *size,
        f"protocol.precision={precision}",
    )
    setting = Setting("photo", overrides, classes=81, batch=32, updates=updates, compared=3)
    method, protocol = built(setting, "finetune", precision)
    batches = noise(setting, method, pixels, CPU)
    trained = (
        Plain("finetune", method, protocol, batches) if side == "plain" else Ours(method, protocol, CPU, batches)
    )
    losses = [trained.train(1)[0] for _ in range(3)]  # wakes the libraries
    before = resource.getrusage(resource.RUSAGE_SELF)
    trained.train(updates)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": spent / updates,
        "losses": losses,
        "precision": precision,
        "peak": after.ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
