"""What records cost as their number grows: adding one, making results.csv, status and grid of a table.

Adding a record with its row is compared with adding it and making results.csv anew, in one process and by turns, so
that other work on the machine meets both alike; every ratio is within one round.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd

from cotune_bench import config as settings
from cotune_bench.records import Record, RecordStore
from cotune_bench.reports.make import table_grid
from cotune_bench.reports.status import table_status

ADDED, REWRITTEN = "add with its row", "add, make anew"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000, 10_000], help="numbers of records")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    seconds: dict[str, dict[int, list[float]]] = {}
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as folder:
            for name, found in measure(Path(folder), count, arguments.rounds).items():
                seconds.setdefault(name, {})[count] = found
    figures = {"machine": machine(), "seconds": seconds}
    print(told(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(folder: Path, count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every operation in every round, with this many records, Table 2's cells among them."""
    keys = settings.table_cells(settings.load_table("table2")).keys
    fill(folder / "ours", count, keys)
    shutil.copytree(folder / "ours", folder / "rewriting")
    ours, rewriting = RecordStore(folder / "ours"), RecordStore(folder / "rewriting")
    model = example("new")
    new = iter([replace(model, key=f"new{number}") for number in range(2 * rounds + 2)])

    def rewrite() -> None:
        rewriting.add(next(new))
        rewriting.refresh()

    sides: dict[str, Callable[[], object]] = {
        ADDED: lambda: ours.add(next(new)),
        REWRITTEN: rewrite,
        "make results.csv": ours.refresh,
        "read Table 2's": lambda: ours.read(keys),
        "status of Table 2": lambda: table_status("table2", [f"results={ours.results}"]),
        "grid of Table 2": lambda: table_grid("table2", [f"results={ours.results}"]),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-1, rounds):  # the first is not counted: it wakes libraries and caches
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            sides[name]()
            if turn >= 0:
                found[name].append(time.perf_counter() - started)
    return found


def fill(results: Path, count: int, keys: tuple[str, ...]) -> None:
    """Records of these keys and of others of their kind, as many as ``count``; written plainly, which is faster."""
    (results / "records").mkdir(parents=True)
    models = [example(key) for key in keys[:count]]
    for number, model in zip(range(count), cycle(models), strict=False):
        record = model if number < len(keys) else replace(model, key=f"{model.key}-{number}")
        (results / "records" / f"{record.key}.json").write_text(record.to_json())
    RecordStore(results).refresh()


def example(key: str) -> Record:
    """A record with the configuration of a cell of Table 2, as large as a real one."""
    config = settings.run_config(settings.compose_config(["data=cub", "method=cotuning"]))
    data, method, rate, seed = (*key.split("-"), "", "", "", "")[:4]
    texts = dict.fromkeys(("weights", "weights_sha256", "data_sha256"), "0" * 64)
    environment = {"version": "0", "torch": "2", "device": "cpu", "host": platform.node(), "platform": "x" * 40}
    return Record(
        key=key,
        method=method,
        data=data,
        backbone="resnet50",
        protocol="paper",
        rate=float(rate.removeprefix("rate") or 0),
        seed=int(seed.removeprefix("seed") or 0),
        accuracy=70.0,
        nll=1 / 3,
        val_accuracy=200 / 3,
        train_images=4800,
        test_images=5794,
        seconds=1000.0,
        finished="2026-01-01T00:00:00.000+00:00",
        config=config,
        environment=environment,
        **texts,
    )


def exponent(medians: dict[int, float]) -> float:
    """Slope of log(seconds) over log(records), by least squares: 0 for a constant cost, 1 for a proportional one."""
    x, y = (np.log(np.array(values, float)) for values in (list(medians), list(medians.values())))
    return float(np.polyfit(x, y, 1)[0])


def machine() -> dict:
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "cpu": cpu.partition(":")[2].strip() or platform.processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pandas": pd.__version__,
    }


def told(figures: dict) -> str:
    """The figures as lines of text: median and spread over the rounds, in milliseconds."""
    seconds = figures["seconds"]
    counts = list(next(iter(seconds.values())))
    lines = [", ".join(f"{name} {value}" for name, value in figures["machine"].items())]
    titles = "".join(f"{f'{count} records':>26}" for count in counts)
    lines.append(f"{'ms, median (range)':18}{titles}  exponent")
    for name, found in seconds.items():
        cells = [
            f"{1e3 * statistics.median(values):.1f} ({1e3 * min(values):.1f}-{1e3 * max(values):.1f})"
            for values in found.values()
        ]
        slope = exponent({count: statistics.median(values) for count, values in found.items()})
        lines.append(f"{name:18}" + "".join(f"{cell:>26}" for cell in cells) + f"{slope:10.2f}")
    ratios = [
        statistics.median(b / a for a, b in zip(seconds[ADDED][count], seconds[REWRITTEN][count], strict=True))
        for count in counts
    ]
    lines.append(f"{'anew / row, median':18}" + "".join(f"{ratio:>24.1f} x" for ratio in ratios))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
