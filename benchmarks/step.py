"""The training step of every method: the engine's against one in the manner of the authors' loop.

Ours is ``engine.fit`` itself, set up as for a run. The plain step (plain_step.py) keeps float32 and contiguous maps,
goes through the parameters one by one and lets autograd differentiate every penalty. Both start from the same
weights, see the same batches and make as many updates. In fp32 their losses, penalties included, must agree to 1e-5
for several updates on end, or the benchmark stops. ResNet-50 has random weights, with which it amplifies rounding
errors as a trained one does not: its residual branches are made small and its learning rate is 0.0003.

With one thread on a CPU the seconds are this process's own, which other work on the machine disturbs less.
"""

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from extra_work import extra_work
from harness import alternate, environment, exponent, parser, report, row, timed
from plain_step import Plain
from training import Batches, Ours, Setting, built, desk, noise, resnet50

from cotune_bench.backbones.precision import resolve
from cotune_bench.backbones.trunk import Trunk
from cotune_bench.inference.execution import devices, set_threads

METHODS = ("finetune", "l2sp", "delta", "bss", "cotuning")
AIMS = {"l2sp": 2, "delta": 25, "bss": 2, "cotuning": 2}  # percent over fine-tuning


def main() -> None:
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--precision", default="auto", help="auto: fp32, and bf16 where it is fast")
    arguments.add_argument("--full", action="store_true", help="ResNet-50 at 224 pixels instead; minutes to hours")
    arguments.add_argument("--batch", type=int, default=16, help="of ResNet-50")
    arguments.add_argument("--compile", metavar="MODE", help="also fine-tuning by torch.compile in this mode")
    options = arguments.parse_args()
    set_threads(options.threads)
    device = devices(options.device)[0]
    precisions = [resolve(options.precision, device)]
    figures: dict = {"environment": environment(options.threads, ("torch", "torchvision")), "rows": []}
    alone = device.type == "cpu" and options.threads == 1
    lines, clock = [], time.process_time if alone else time.perf_counter
    if options.precision == "auto" and precisions == ["fp32"]:
        lines.append("bf16 left out: this device has no fast arithmetic for it; --precision bf16 measures it still")
    elif options.precision == "auto":
        precisions.insert(0, "fp32")
    for setting in [resnet50(224, options.batch)] if options.full else [desk(), resnet50(64, options.batch)]:
        for precision in precisions:
            title = f"{setting.name}, batch {setting.batch}, {precision}"
            lines += ["", title]
            lines += measured(title, setting, precision, device, options.rounds, clock, figures, options.compile)
    report(figures, lines, options.json)


def measured(
    title: str,
    setting: Setting,
    precision: str,
    device: torch.device,
    rounds: int,
    clock: Callable[[], float],
    figures: dict,
    compile_mode: str | None,
) -> list[str]:
    """Lines of one network in one precision; its figures are added."""
    ours, plain, lines = {}, {}, []
    for name in METHODS:
        method, protocol = built(setting, name, precision)
        *smaller, batches = (
            noise(setting, method, protocol.crop, setting.batch // part, device) for part in (4, 2, 1)
        )
        plain[name] = Plain(name, method.to(device), protocol, batches)
        ours[name] = Ours(method, protocol, device, batches)
    if precision == "fp32":
        off = {name: compared(f"{title}, {name}", ours[name], plain[name], setting.compared) for name in METHODS}
        figures.setdefault("largest relative difference of losses", {})[title] = off
        lines.append(f"losses of {setting.compared} updates agree to {max(off.values()):.1e}")
    if isinstance(ours["finetune"].method.trunk, Trunk):
        ours["finetune, recompute=always"] = again = copy.deepcopy(ours["finetune"])
        again.method.trunk.recompute = True
    if compile_mode:
        side, warm_up = compiled(title, setting, precision, device, compile_mode)
        ours[f"finetune, compile={compile_mode}"] = side
        figures.setdefault("seconds to compile", {})[title] = warm_up
    sides = {f"plain {name}": lambda s=side: s.train(setting.updates) for name, side in plain.items()}
    sides |= {f"ours {name}": lambda s=side: s.train(setting.updates) for name, side in ours.items()}
    for side in (*plain.values(), *ours.values()):
        side.train(1)  # wakes the libraries
    sides |= {f"extra {name}": repeated(extra_work(name, ours[name]), setting.updates, device) for name in AIMS}
    for name in AIMS:
        sides[f"extra {name}"]()
    turns = alternate(sides, rounds, clock)
    seconds = {side: [spent / setting.updates for spent in times] for side, times in turns.items()}
    base = seconds["ours finetune"]
    over = figures.setdefault("percent over fine-tuning", {})[title] = {}
    for name in ours:
        pair = {"ours": seconds[f"ours {name}"], "plain": seconds[f"plain {name.partition(',')[0]}"]}
        figures["rows"].append(row(f"step: {title}, {name}", pair))
        over[name] = {"rounds": [100 * (own / other - 1) for own, other in zip(pair["ours"], base, strict=True)]}
        if name in AIMS:
            alone = zip(seconds[f"extra {name}"], base, strict=True)
            over[name]["extra work alone"] = [100 * own / other for own, other in alone]
        lines.append(told(name, figures["rows"][-1], over[name]))
    if compile_mode:
        pairs = zip(base, seconds[f"ours finetune, compile={compile_mode}"], strict=True)
        saved = statistics.median(eager - fast for eager, fast in pairs)
        worth = f"paid back after {warm_up / saved:,.0f} updates" if saved > 0 else "never paid back"
        lines.append(f"compile={compile_mode}: {warm_up:.1f} s before the first update, {worth}")
    grown = figures.setdefault("growth", {})[title] = {
        name: growth(ours[name], [*smaller, batches], setting.updates, clock) for name in METHODS
    }
    exponents = ", ".join(f"{name} {found['exponent']:.2f}" for name, found in grown.items())
    return [*lines, f"ours over a quarter, half, whole of the batch: exponents {exponents}"]


def compiled(title: str, setting: Setting, precision: str, device: torch.device, mode: str) -> tuple[Ours, float]:
    """Fine-tuning under torch.compile, and the seconds until its first update is done."""
    method, protocol = built(setting, "finetune", precision)
    batches = noise(setting, method, protocol.crop, setting.batch, device)
    plain = Plain("finetune", method.to(device), protocol, batches)
    ours = Ours(method, protocol, device, batches, mode)
    seconds = timed(lambda: ours.train(1))
    plain.train(1)
    if precision == "fp32":
        compared(f"{title}, compile={mode}", ours, plain, setting.compared)
    return ours, seconds


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


def growth(side: Ours, sizes: Sequence[Batches], updates: int, clock: Callable[[], float]) -> dict:
    """Seconds of a turn with batches of each size, and the exponent."""
    spent = []
    for batches in sizes:
        side.batches = batches
        side.train(1)  # wakes the libraries for this size
        spent.append(timed(lambda: side.train(updates), clock))
    images = [len(batches[0][1]) for batches in sizes]
    return {"images": images, "seconds": spent, "exponent": exponent(images, spent)}


def told(name: str, both: Mapping[str, dict], over: Mapping) -> str:
    """A line of one method."""
    own, plain, ratio = (both[side] for side in ("ours", "plain", "ratio"))
    line = f"{name:26} {1000 * own['median']:8.1f} ms, plain {1000 * plain['median']:8.1f} ms, "
    line += f"{ratio['median']:.2f} x ({ratio['low']:.2f}-{ratio['high']:.2f})"
    if name == "finetune":
        return line
    rounds = over["rounds"]
    line += f"; over finetune {statistics.median(rounds):+.1f} % ({min(rounds):+.1f} to {max(rounds):+.1f})"
    if name in AIMS:
        alone = over["extra work alone"]
        line += f", its extra work alone {statistics.median(alone):.2f} % ({min(alone):.2f} to {max(alone):.2f})"
        line += f", aim {AIMS[name]}"
    return line


if __name__ == "__main__":
    main()
