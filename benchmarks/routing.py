"""A routed ResNet-18 whose blocks compute the copies that a batch needs, against the plain form with both copies.

Half of the choices are the trained copy, drawn for each image and block. At test, each image passes one copy of a
block; in a training step of the random policy, batch statistics need all images in the trained copy. Outputs must
agree to 1e-5 of their largest, and multiply-adds are counted beside the time.
"""

from collections.abc import Callable
from functools import partial
from time import process_time
from unittest.mock import patch

import torch
from harness import alternate, environment, parser, report, row, row_line
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cotune_bench.api import load_backbone
from cotune_bench.inference.execution import keep_freed_memory, set_threads
from cotune_bench.methods import routing
from cotune_bench.methods.random_policy import RandomPolicy


def plain(maps: Tensor, frozen: nn.Module, tuned: nn.Module, policy: Tensor) -> Tensor:
    """Both copies of every image."""
    return routing.gate(0.0, frozen(maps), tuned(maps), policy)


def main() -> None:
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--pixels", type=int, default=112)
    arguments.add_argument("--batch", type=int, default=16)
    options = arguments.parse_args()
    keep_freed_memory()
    set_threads(options.threads)
    torch.manual_seed(0)
    method = RandomPolicy(load_backbone("resnet18", weights="random"), 10, always=0)
    images = torch.randn(options.batch, 3, options.pixels, options.pixels)
    policy = torch.rand(options.batch, len(method.routed_blocks)).round()

    def test() -> Tensor:
        method.eval()
        with torch.no_grad():
            return method.features_by(policy, images)

    def step() -> Tensor:
        method.train()
        features = method.features_by(policy, images)
        features.sum().backward()
        return features.detach()

    def by_plain(work: Callable[[], Tensor]) -> Tensor:
        with patch.object(routing, "routed", plain):
            return work()

    rows, lines, sizes = [], [], {}
    for name, work in (("test", test), ("training step", step)):
        ours, theirs = work(), by_plain(work)
        off = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        if not off <= 1e-5:
            raise SystemExit(f"outputs differ by {off:.1e} of the largest, more than 1e-5")
        sides = {"ours": work, "plain": partial(by_plain, work)}
        what = f"routing: {name}, ResNet-18, {options.pixels} px, batch {options.batch}"
        rows.append(row(what, alternate(sides, options.rounds, process_time)))
        sizes[name] = {side: counted(call) for side, call in sides.items()}
        share = sizes[name]["ours"] / sizes[name]["plain"]
        lines.append(
            f"{row_line(rows[-1])}; multiply-adds: {share:.2f} of the plain form's; outputs agree to {off:.0e}"
        )
    figures = {
        "environment": environment(options.threads, ("torch", "torchvision")),
        "rows": rows,
        "operations": sizes,
    }
    report(figures, lines, options.json)


def counted(work: Callable[[], Tensor]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
