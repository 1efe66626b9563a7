"""Several runs at once on one device: updates a second in total.

On a CPU one run with 2 threads against two runs with 1 thread each; on a GPU one run against 2 and 4, each a process
of its own with 1 CPU thread, ResNet-50 at 224 pixels, batch 48, in the precision that auto chooses there. All sides
of a comparison make the same number of updates in all.
"""

import multiprocessing
import statistics
from collections.abc import Sequence
from multiprocessing.connection import Connection

import torch
from harness import alternate, environment, parser, report, row
from training import Ours, Setting, built, desk, noise, resnet50

from cotune_bench.backbones.precision import resolve
from cotune_bench.inference.execution import devices, set_threads


def main() -> None:
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--device", default="auto")
    options = arguments.parse_args()
    device = devices(options.device)[0]
    if device.type == "cuda":
        settings, sides, updates = [resnet50(224, 48)], {1: 1, 2: 1, 4: 1}, {"ResNet-50, 224 px": 200}
    else:
        settings, sides = [desk(), resnet50(64, 16)], {1: 2, 2: 1}
        updates = {"desk network": 200, "ResNet-50, 64 px": 4}
    figures: dict = {"environment": environment(max(sides.values()), ("torch", "torchvision")), "rows": []}
    lines = []
    for setting in settings:
        total = updates[setting.name]
        seconds = together(setting, str(device), sides, total, options.rounds)
        title = f"{setting.name}, batch {setting.batch}"
        lines += ["", title]
        for runs, times in seconds.items():
            both = row(f"{runs} runs at once: {title}", {"ours": times, "plain": seconds[1]})
            figures["rows"] += [both] if runs > 1 else []
            lines.append(told(runs, sides[runs], total, times, both["ratio"]))
    report(figures, lines, options.json)


def together(setting: Setting, device: str, sides: dict[int, int], total: int, rounds: int) -> dict[int, list[float]]:
    """Seconds of ``total`` updates by so many runs at once, each with so many threads, in every round."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(max(sides)):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=work, args=(theirs, setting, device), daemon=True))
        processes[-1].start()
        theirs.close()  # so that the end of a process is seen here
        pipes.append(ours)

    def go(runs: int) -> None:
        for pipe in pipes[:runs]:
            pipe.send((sides[runs], total // runs))
        for pipe in pipes[:runs]:
            pipe.recv()

    calls = {str(runs): lambda runs=runs: go(runs) for runs in sides}
    alternate(calls, 1)  # wakes the libraries
    seconds = {int(runs): times for runs, times in alternate(calls, rounds).items()}
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.close()
        process.join()
    return seconds


def work(pipe: Connection, setting: Setting, device: str) -> None:
    """A run: trains as often as it is told, until the pipe is closed."""
    place = torch.device(device)
    method, protocol = built(setting, "finetune", resolve("auto", place))
    side = Ours(method.to(place), protocol, place, noise(setting, method, protocol.crop, setting.batch, place))
    while True:
        try:
            threads, updates = pipe.recv()
        except EOFError:
            return
        set_threads(threads)
        side.train(updates)
        pipe.send("done")


def told(runs: int, threads: int, total: int, seconds: Sequence[float], ratio: dict) -> str:
    """A line of one side."""
    rates = [total / spent for spent in seconds]
    line = f"{runs} x {threads} CPU threads: {statistics.median(rates):8.2f} updates/s in all "
    line += f"({min(rates):.2f}-{max(rates):.2f})"
    if runs > 1:
        line += f", {ratio['median']:.2f} x one run ({ratio['low']:.2f}-{ratio['high']:.2f})"
    return line


if __name__ == "__main__":
    main()
