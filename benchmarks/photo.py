"""An update of fine-tuning on photographs, batch 32 at 128 pixels: a run's own way against the plain loop.

Ours is the engine as protocol=photo sets it up: bf16 where the CPU is made for it, channels last, freed memory kept.
The plain loop (plain_step.py) keeps float32 and contiguous maps. Each side is a process of its own, because what
glibc does with freed memory holds for a whole process. The losses of the first updates in float32 must agree to 1e-5;
weights are random, and such a network amplifies rounding errors, so the learning rate is 0.0003.
"""

import argparse
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
    arguments.add_argument("--backbones", nargs="+", default=["efficientnet_lite0", "resnet50"])
    arguments.add_argument("--pixels", type=int, default=128)
    arguments.add_argument("--updates", type=int, default=6)
    arguments.add_argument("--side", choices=SIDES, help="measure this side alone, with the first backbone")
    options = arguments.parse_args()
    if options.side:
        print(json.dumps(measured(options)))
        return
    packages = ("torch", "torchvision", "timm")
    figures: dict = {"environment": environment(options.threads, packages), "networks": {}, "rows": []}
    lines = []
    for backbone in options.backbones:
        figures["networks"][backbone], rows = compared(backbone, options)
        figures["rows"] += rows
        for found in rows:
            ratio = "{median:.2f} x ({low:.2f}-{high:.2f})".format(**found["ratio"])
            ours, plain = (found[side]["median"] for side in ("ours", "plain"))
            lines.append(f"{found['what']:40} {ours:.2f} s of processor time an update, plain {plain:.2f} s, {ratio}")
        lines.append(f"  peak memory, MB: {figures['networks'][backbone]['peak memory in MB']}")
    report(figures, lines, options.json)


def compared(backbone: str, options: argparse.Namespace) -> tuple[dict, list[dict]]:
    """Figures and rows of one network; each measurement is a process of its own."""
    runs: dict[str, list[dict]] = {side: [] for side in SIDES}
    given = [f"--{name}={getattr(options, name)}" for name in ("pixels", "updates", "threads")]
    for _ in range(options.rounds):
        for side in SIDES:
            command = [sys.executable, __file__, f"--side={side}", *given, "--backbones", backbone]
            runs[side].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))  # noqa: S603
    exact, plain = (runs[side][0]["losses"][:3] for side in SIDES[1:])
    off = max(abs(one - other) / abs(other) for one, other in zip(exact, plain, strict=True))
    if not off <= 1e-5:
        raise SystemExit(f"{backbone}: losses differ by {off:.1e}, more than 1e-5: {exact} and {plain}")
    seconds = {side: [run["seconds"] for run in found] for side, found in runs.items()}
    rows = [
        row(f"photo: {backbone}, {options.pixels} px, {side}", {"ours": seconds[side], "plain": seconds["plain"]})
        for side in SIDES[:2]
    ]
    figures = {
        "precision": runs["ours"][0]["precision"],
        "largest relative difference of losses in fp32": off,
        "peak memory in MB": {side: max(run["peak"] for run in found) for side, found in runs.items()},
    }
    return figures, rows


def measured(options: argparse.Namespace) -> dict:
    """Processor seconds of an update and the losses of the side that is asked for."""
    side = options.side
    if side != "plain":
        keep_freed_memory()
    set_threads(options.threads)
    precision = resolve("auto", CPU) if side == "ours" else "fp32"
    overrides = (
        "data=grocery",
        f"backbone={options.backbones[0]}",
        "backbone.weights=random",
        "protocol.lr=0.0003",
        f"protocol.resize={options.pixels}",
        f"protocol.crop={options.pixels}",
        f"protocol.precision={precision}",
    )
    setting = Setting("photo", overrides, classes=81, batch=32, updates=options.updates, compared=3)
    method, protocol = built(setting, "finetune", precision)
    batches = noise(setting, method, options.pixels, CPU)
    trained = (
        Plain("finetune", method, protocol, batches) if side == "plain" else Ours(method, protocol, CPU, batches)
    )
    losses = [trained.train(1)[0] for _ in range(3)]  # wakes the libraries
    before = resource.getrusage(resource.RUSAGE_SELF)
    trained.train(options.updates)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": spent / options.updates,
        "losses": losses,
        "precision": precision,
        "peak": after.ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
