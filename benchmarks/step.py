"""The training step of every method: the engine's against one in the manner of the authors' loop.

Ours is ``engine.fit`` itself, set up as for a run. The plain step (plain_step.py) keeps float32 and contiguous maps,
goes through the parameters one by one and lets autograd differentiate every penalty. Both start from the same
weights, see the same batches and make as many updates. In fp32 their losses, penalties included, must agree to 1e-5
for several updates on end, or the benchmark stops. ResNet-50 has random weights, with which it amplifies rounding
errors as a trained one does not: its residual branches are made small and its learning rate is 0.0003.

Whole updates vary by more than most penalties cost, so these are timed alone, too. With one thread on a CPU the
seconds are this process's own, which other work on the machine disturbs less.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from harness import alternate, environment, parser, report, row
from omegaconf import OmegaConf
from plain_step import Batches, Plain
from torch import Tensor, nn

from cotune_bench.backbones.base import tap
from cotune_bench.backbones.precision import autocast, resolve
from cotune_bench.config import build, compose_config
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Batch
from cotune_bench.inference.execution import choose_execution, devices, set_threads
from cotune_bench.methods.base import Method
from cotune_bench.methods.bss import spectral_shrinkage
from cotune_bench.methods.cotuning import soft_cross_entropy
from cotune_bench.methods.delta import feature_map_penalty
from cotune_bench.storage.cache import Cache
from cotune_bench.training.engine import fit

METHODS = ("finetune", "l2sp", "delta", "bss", "cotuning")


@dataclass(frozen=True)
class Setting:
    """A network, its images, how many updates make a turn, and of how many the losses are compared."""

    name: str
    overrides: tuple[str, ...]
    classes: int
    batch: int
    updates: int
    compared: int


DESK = Setting("desk network", ("data=digits", "backbone.weights=random"), 10, batch=48, updates=40, compared=8)


def resnet50(pixels: int, batch: int) -> Setting:
    size = (f"protocol.resize={pixels}", f"protocol.crop={pixels}")
    overrides = ("data=cub", "backbone=resnet50", "backbone.weights=random", "protocol.lr=0.0003", *size)
    return Setting(f"ResNet-50, {pixels} px", overrides, classes=200, batch=batch, updates=1, compared=3)


def main() -> None:
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--precision", default="auto", help="auto: fp32, and bf16 where it is fast")
    arguments.add_argument("--full", action="store_true", help="ResNet-50 at 224 pixels instead; minutes to hours")
    arguments.add_argument("--batch", type=int, default=16, help="of ResNet-50")
    options = arguments.parse_args()
    set_threads(options.threads)
    device = devices(options.device)[0]
    precisions = [resolve(options.precision, device)]
    if options.precision == "auto" and precisions != ["fp32"]:
        precisions.insert(0, "fp32")
    figures: dict = {"environment": environment(options.threads, ("torch", "torchvision")), "rows": []}
    alone = device.type == "cpu" and options.threads == 1
    lines, clock = [], time.process_time if alone else time.perf_counter
    for setting in [resnet50(224, options.batch)] if options.full else [DESK, resnet50(64, options.batch)]:
        for precision in precisions:
            lines += measured(setting, precision, device, options.rounds, clock, figures)
    report(figures, lines, options.json)


def measured(
    setting: Setting,
    precision: str,
    device: torch.device,
    rounds: int,
    clock: Callable[[], float],
    figures: dict,
) -> list[str]:
    """Lines of one network in one precision; its figures are added."""
    title = f"{setting.name}, batch {setting.batch}, {precision}"
    ours, plain, lines = {}, {}, ["", title]
    for name in METHODS:
        method, protocol = built(setting, name, precision)
        batches = noise(setting, method, protocol.crop, device)
        plain[name] = Plain(name, method.to(device), protocol, batches)
        ours[name] = Ours(method, protocol, device, batches)
    if precision == "fp32":
        off = {name: compared(f"{title}, {name}", ours[name], plain[name], setting.compared) for name in METHODS}
        figures.setdefault("largest relative difference of losses", {})[title] = off
        lines.append(f"losses of {setting.compared} updates agree to {max(off.values()):.1e}")
    sides = {f"plain {name}": lambda s=side: s.train(setting.updates) for name, side in plain.items()}
    sides |= {f"ours {name}": lambda s=side: s.train(setting.updates) for name, side in ours.items()}
    for side in (*plain.values(), *ours.values()):
        side.train(1)  # wakes the libraries
    for name in METHODS[1:]:
        sides[f"extra {name}"] = repeated(extra_work(name, ours[name]), setting.updates, device)
        sides[f"extra {name}"]()
    turns = alternate(sides, rounds, clock)
    seconds = {side: [spent / setting.updates for spent in times] for side, times in turns.items()}
    base = seconds["ours finetune"]
    over = figures.setdefault("percent over fine-tuning", {})[title] = {}
    for name in METHODS:
        pair = {"ours": seconds[f"ours {name}"], "plain": seconds[f"plain {name}"]}
        figures["rows"].append(row(f"step: {title}, {name}", pair))
        over[name] = {"rounds": [100 * (own / other - 1) for own, other in zip(pair["ours"], base, strict=True)]}
        if name != "finetune":
            alone = zip(seconds[f"extra {name}"], base, strict=True)
            over[name]["extra work alone"] = [100 * own / other for own, other in alone]
        lines.append(told(name, figures["rows"][-1], over[name]))
    return lines


class Ours:
    """A method as a run trains it."""

    def __init__(self, method: Method, protocol: Protocol, device: torch.device, batches: Batches) -> None:
        choose_execution(method, protocol, device)
        method.prepare = lambda data, cache: None  # what it would find was drawn
        self.method, self.protocol, self.batches = method, protocol, batches
        self.data = cast(TargetData, SimpleNamespace(train=Drawn(batches)))

    def train(self, updates: int, report_every: int | None = None) -> list[float]:
        """Losses at the reports, penalties included.

        Without ``report_every`` there is one report, and no values of penalties on weights alone: a run looks at
        them every 50 updates, these calls are shorter.
        """
        losses = []
        ask = self.method.penalties if report_every else dict
        penalties = {name: penalty.value().item() for name, penalty in ask().items()}

        def note(_updates: int, _lr: float, terms: Mapping[str, float]) -> None:
            after = {name: terms[name] for name in penalties}  # the other terms were found before the update
            losses.append(sum(terms.values()) - sum(after.values()) + sum(penalties.values()))
            penalties.update(after)

        self.method.penalties = ask
        rules, every = replace(self.protocol, updates=updates), report_every or updates
        fit(self.method, self.data, rules, seed=0, cache=Cache(Path()), report=note, report_every=every)
        del self.method.penalties  # the class has its own
        return losses


@dataclass(frozen=True)
class Drawn:
    """Batches made before, again and again."""

    batches: Batches
    views: int = 1

    def stream(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of these steps."""
        return (Batch(*self.batches[step % len(self.batches)]) for step in range(first, last))


def built(setting: Setting, name: str, precision: str) -> tuple[Method, Protocol]:
    """A method with random weights, running statistics that fit them, and drawn attention or relationship."""
    config = compose_config([*setting.overrides, f"method={name}", f"precision={precision}"])
    protocol = Protocol(**OmegaConf.to_container(config.protocol, resolve=True))  # pyright: ignore
    backbone = build(config.backbone, cache=Path())
    torch.manual_seed(0)
    settle(backbone.trunk, torch.randn(32, len(backbone.info.mean), protocol.crop, protocol.crop))
    method = build(config.method, backbone, setting.classes, drop=["name", "tune"])
    for key, values in method.named_buffers(recurse=False):
        if key.startswith("attention") or key == "relationship":
            values.copy_(torch.softmax(torch.randn_like(values), dim=-1))
    return method, protocol


@torch.no_grad()
def settle(trunk: nn.Module, images: Tensor) -> None:
    """Makes residual branches small and gives batch normalisation the statistics of these images."""
    norms = {name: module for name, module in trunk.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, norm in norms.items():
        norm.momentum = 1.0
        if name.endswith(".bn3"):
            nn.init.constant_(norm.weight, 0.1)
    trunk.train()(images)
    for norm in norms.values():
        norm.momentum = 0.1


def noise(setting: Setting, method: Method, pixels: int, device: torch.device) -> Batches:
    """Three batches, channels last, as the data path hands them out."""
    draw = torch.Generator().manual_seed(1)
    shape = (setting.batch, next(method.trunk.parameters()).shape[1], pixels, pixels)
    images = [torch.randn(shape, generator=draw).to(device, memory_format=torch.channels_last) for _ in range(3)]
    return [(one, torch.randint(setting.classes, shape[:1], generator=draw).to(device)) for one in images]


def extra_work(name: str, side: Ours) -> Callable[[], object]:
    """What a method does beyond fine-tuning: its penalty and the gradient down to features, maps or weights."""
    method: Any = side.method  # one of the four
    images, labels = side.batches[0]
    if name == "l2sp":
        return lambda: [penalty.add_gradients() for penalty in method.penalties().values()]
    if name == "delta":
        with tap(method.trunk, method.taps) as maps, torch.no_grad():
            method.features(images)
        target = [maps[layer].detach().requires_grad_() for layer in method.taps]

        def maps_term() -> None:
            reduced = autocast(method.precision, images.device)
            with torch.no_grad(), reduced, tap(method.source.module, method.taps) as maps:
                method.source(images)
            penalty = feature_map_penalty([maps[layer] for layer in method.taps], target, method.attention)
            (method.alpha * penalty).backward()
            for penalty_of_weights in method.penalties().values():
                penalty_of_weights.add_gradients()

        return maps_term
    features = method.features(images).detach().requires_grad_()
    if name == "bss":
        return lambda: (method.weight * spectral_shrinkage(features, method.k)).backward()

    def source_term() -> None:
        logits = method.source_head(features)
        (method.trade_off * soft_cross_entropy(logits, method.relationship[labels])).backward()

    return source_term


def repeated(work: Callable[[], object], times: int, device: torch.device) -> Callable[[], None]:
    """The work done so many times, to its end; ``train`` ends with a look at the loss, which waits for a GPU, too."""

    def all_of_it() -> None:
        for _ in range(times):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return all_of_it


def compared(title: str, ours: Ours, plain: Plain, updates: int) -> float:
    """Largest relative difference of the losses of the next updates; the benchmark ends if it is too large."""
    pairs = list(zip(ours.train(updates, report_every=1), plain.train(updates), strict=True))
    off = max(abs(own - other) / abs(other) for own, other in pairs)
    if not off <= 1e-5:
        raise SystemExit(f"{title}: losses differ by {off:.1e} of the loss, more than 1e-5: {pairs}")
    return off


def told(name: str, both: Mapping[str, dict], over: Mapping) -> str:
    """A line of one method."""
    own, plain, ratio = (both[side] for side in ("ours", "plain", "ratio"))
    line = f"{name:26} {1000 * own['median']:8.1f} ms, plain {1000 * plain['median']:8.1f} ms, "
    line += f"{ratio['median']:.2f} x ({ratio['low']:.2f}-{ratio['high']:.2f})"
    if name == "finetune":
        return line
    rounds, alone = over["rounds"], over["extra work alone"]
    line += f"; over finetune {statistics.median(rounds):+.1f} % ({min(rounds):+.1f} to {max(rounds):+.1f})"
    return f"{line}, its extra work alone {statistics.median(alone):.2f} % ({min(alone):.2f} to {max(alone):.2f})"


if __name__ == "__main__":
    main()
