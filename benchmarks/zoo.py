"""The training step of Zoo-Tuning with five sources against fine-tuning's, and its memory.

ResNet-50 with random weights, by ``engine.fit`` as in a run. The sides take turns in one process; the ratio is that
of a round. Peak memory is that of a process which makes two updates of one method. Beside the time stands the least
number of multiply-adds: a ratio of times below theirs is not to be expected.
"""

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from harness import alternate, environment, parser, report, span, spread
from omegaconf import OmegaConf
from step import Ours, resnet50
from torch import nn

from cotune_bench.backbones.base import evaluating
from cotune_bench.config import compose_config
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.task import Classification
from cotune_bench.inference.execution import devices, set_threads
from cotune_bench.methods.assemble import make_backbone, make_method
from cotune_bench.methods.zoo import AdaptiveConv2d

METHODS = ("finetune", "zoo_tuning_lite", "zoo_tuning")


def main() -> None:
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--pixels", type=int, default=64)
    arguments.add_argument("--batch", type=int, default=48)
    arguments.add_argument("--memory", choices=METHODS, help="print the peak memory of this method alone, in bytes")
    options = arguments.parse_args()
    set_threads(options.threads)
    if options.memory:
        side(options.memory, options.pixels, options.batch).train(2)
        status = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage has the parent's peak as well
        print(1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]))
        return
    sides = {name: side(name, options.pixels, options.batch) for name in METHODS}
    for one in sides.values():
        one.train(1)  # wakes the libraries
    clock = time.process_time if options.threads == 1 else time.perf_counter
    seconds = alternate({name: lambda s=one: s.train(1) for name, one in sides.items()}, options.rounds, clock)
    least = {name: multiply_adds(one.method, options.pixels, options.batch) for name, one in sides.items()}
    figures = {"environment": environment(options.threads, ("torch",)), "methods": {}}
    lines = [f"ResNet-50, {options.pixels} px, batch {options.batch}, five sources, fp32"]
    for name, spent in seconds.items():
        ratios = [own / base for own, base in zip(spent, seconds["finetune"], strict=True)]
        memory = peak(name, options)
        work = least[name] / least["finetune"]
        figures["methods"][name] = {
            "seconds": spread(spent), "over finetune": spread(ratios), "multiply-adds": work, "bytes": memory
        }  # fmt: skip
        over = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) times fine-tuning"
        lines.append(
            f"{name:16} {span(spread(spent)):26} {over}, {work:.2f} times its multiply-adds at least, "
            f"at most {memory / 1e9:.1f} GB"
        )
    report(figures, lines, options.json)


def side(name: str, pixels: int, batch: int) -> Ours:
    """A method on drawn batches, with random weights in all networks."""
    setting = resnet50(pixels, batch)
    config = compose_config([*setting.overrides, "protocol.backbone_ratio=1", f"method={name}", "precision=fp32"])
    protocol = Protocol(**OmegaConf.to_container(config.protocol, resolve=True))  # pyright: ignore
    backbone = make_backbone(config.backbone, Path(), random=True)
    method, _ = make_method(config.method, backbone, Classification(setting.classes), Path(), seed=0, random=True)
    device = devices("cpu")[0]
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(batch, 3, pixels, pixels, generator=draw).to(memory_format=torch.channels_last)
    return Ours(method, protocol, device, [(images, torch.randint(setting.classes, (batch,), generator=draw))])


def multiply_adds(method: nn.Module, pixels: int, batch: int) -> int:
    """Of the convolutions of a training step, forward and backward: for each layer the form that needs fewer.

    An image has mixed and aligned weights of its own (with a task gate the batch has), or the maps of all sources are
    mixed and aligned. Either way a product and its two gradients cost the same.
    """
    trunk, positions = method.get_submodule("trunk"), {}
    layers = [one for one in trunk.modules() if isinstance(one, nn.Conv2d | AdaptiveConv2d)]
    hooks = [
        one.register_forward_hook(lambda layer, _, maps: positions.update({layer: maps[0, 0].numel()}))
        for one in layers
    ]
    with evaluating(method), torch.no_grad():
        trunk(torch.zeros(1, 3, pixels, pixels))
    for hook in hooks:
        hook.remove()
    total = 0
    for layer in layers:
        rows = batch * positions[layer]
        if isinstance(layer, nn.Conv2d):
            total += 3 * rows * layer.weight.numel()
            continue
        sources, channels, columns = layer.weight.shape
        size, aligned = channels * columns, layer.alignment is not None
        mixes = 1 if layer.task_gate else batch
        weights = mixes * sources * size + rows * size + aligned * sources * channels * size
        maps = rows * sources * size + aligned * rows * sources * channels**2
        total += 3 * min(weights, maps)
    return total


def peak(name: str, options) -> int:
    """Bytes, of a process of its own."""
    given = ["--memory", name, "--pixels", options.pixels, "--batch", options.batch, "--threads", options.threads]
    command = [sys.executable, __file__, *map(str, given)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)  # noqa: S603


if __name__ == "__main__":
    main()
