"""What benchmarks share: sides that take turns in one process, ratios round by round, the machine."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def parser(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """A command line with --rounds, --threads and --json."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--threads", type=int, default=1, help="threads of torch and BLAS")
    made.add_argument("--json", type=Path, help="write the figures to this file")
    return made


def environment(threads: int, packages: Sequence[str]) -> dict[str, object]:
    """Processor, cores, load, threads and versions."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "cpu": cpu.partition(":")[2].strip() or platform.processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "threads": threads,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def alternate(
    sides: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every side in every round by a clock; the sides take turns, each first in some round.

    ``time.process_time`` leaves out other processes.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides) if turn % 2 else list(sides)[::-1]:
            started = clock()
            sides[name]()
            seconds[name].append(clock() - started)
    return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest value."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def row(what: str, seconds: Mapping[str, Sequence[float]], *, ours: str = "ours", plain: str = "plain") -> dict:
    """A line of the table in docs/performance.md.

    Seconds of ours and, if it is there, of the plain way, and their ratio round by round.
    """
    if plain not in seconds:
        return {"what": what, "ours": spread(seconds[ours])}
    ratios = [theirs / own for theirs, own in zip(seconds[plain], seconds[ours], strict=True)]
    return {"what": what, "ours": spread(seconds[ours]), "plain": spread(seconds[plain]), "ratio": spread(ratios)}


def row_line(figures: Mapping) -> str:
    """A row as a line of text."""
    own, ratio = figures["ours"], figures.get("ratio")
    line = f"{figures['what']:52} {span(own)}"
    return line + (f", plain {span(figures['plain'])}: {ratio_text(ratio)} x" if ratio else "")


def span(seconds: Mapping[str, float]) -> str:
    """Median and range in the unit that suits the median."""
    unit, size = next((unit, size) for unit, size in UNITS if seconds["median"] >= size or size == UNITS[-1][1])
    return f"{_spread_text(seconds, size)} {unit}"


def ratio_text(ratio: Mapping[str, float]) -> str:
    """Median and range."""
    return _spread_text(ratio, 1.0)


def _spread_text(values: Mapping[str, float], unit: float) -> str:
    sizes = (values[part] / unit for part in ("median", "low", "high"))
    return "{} ({}-{})".format(*(f"{size:.3g}" if size < 999.5 else f"{size:,.0f}" for size in sizes))


def report(figures: Mapping[str, dict], lines: Sequence[str], path: Path | None) -> None:
    """Prints machine (``figures["environment"]``) and lines; writes both and the figures if a path is given.

    ``figures["rows"]``, if there, goes into the table of docs/performance.md: see ``row``.
    """
    machine = figures["environment"]
    printed = [", ".join(f"{name} {value}" for name, value in machine.items()), *lines]
    print(*printed, sep="\n")
    if path:
        path.write_text(json.dumps({**figures, "printed": printed}, indent=1) + "\n", encoding="utf-8")
