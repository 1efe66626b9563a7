"""What a reader must know of a grid: a caption that says what is shown, and warnings; plain text for every format."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from cotune_bench.reports.grid import Cell, Grid, Run
from cotune_bench.reports.spec import SPREADS

#: Fields of a run that a table should not mix, by what they are called.
OVER_ALL = {"version": "cotune_bench versions", "torch": "torch versions", "device": "devices"}
PER_DATA = {
    "backbone": "backbones",
    "weights": "weights",
    "protocol": "protocols",
    "split": "splits",
    "precision": "precisions",
}
NAMED = 3  # cells that a warning names before it only counts


def caption(grid: Grid, best: str = "bold", below: str = "below the line") -> str:
    """What is shown and under which rules, in a few sentences.

    Args:
        grid: what is shown.
        best: how the best values are marked.
        below: how baselines are set apart.
    """
    marked = "" if not grid.runs() else f"Highest mean of each {_column(grid)}: {best}."
    baselines = "" if not grid.spec.baselines else f"Rows {below} are baselines: not compared, never marked."
    told = (statistic(grid), marked, baselines, setting(grid), _versions(grid), grid.spec.note)
    return " ".join(sentence for sentence in told if sentence)


def statistic(grid: Grid, value: str = "top-1 test accuracy in percent") -> str:
    """What a mean ± spread of ``value`` is: over what, and which variation the ± contains."""
    sizes = sorted({cell.n for cell in grid.cells if cell.n})
    if not sizes:
        return f"{value[0].upper()}{value[1:]}; no run has finished yet."
    n = f"n = {sizes[0]}" + (f" to {sizes[-1]}" if len(sizes) > 1 else "")
    what = ("training " if grid.spec.unit == "seed" else "") + grid.spec.unit + ("s" if sizes[-1] > 1 else "")
    mean = f"Mean ± {SPREADS[grid.spec.std]} over {n} {what}" if sizes[-1] > 1 else f"One run, {n} {what}"
    if grid.spec.unit == "replicate":
        return f"{mean}{_of_replicates(grid) if sizes[-1] > 1 else ''}, {value}."
    without = "another split, sample or source network would change"
    rest = f" The ± does not contain how much {without}." if sizes[-1] > 1 else ""
    return f"{mean} on one split and sample, {value}.{rest}"


def _of_replicates(grid: Grid) -> str:
    """What differs between replicates: the source network, too, where their runs recorded several."""
    counts = {data: len(sources(grid, data)) for data in grid.spec.data if grid.runs(data)}
    if all(count > 1 for count in counts.values()):
        return " (each with its own source network, split, sample and training seed)"
    own = "each with its own split, sample and training seed"
    if several := [data for data, count in counts.items() if count > 1]:
        return f" ({own}, and its own source network on {', '.join(several)})"
    return f" ({own}; the source network is the same)" if all(counts.values()) else f" ({own})"


def sources(grid: Grid, data: str) -> set[str]:
    """SHA-256 of the source weights of a data set, as recorded by the first run of each replicate or seed."""
    first: dict[int, str] = {}
    for run in grid.runs(data):
        if run.weights_sha256:
            first.setdefault(run.unit, run.weights_sha256)
    return set(first.values())


def _column(grid: Grid) -> str:
    return "column" if len(grid.spec.data) == 1 else "column within a data set"


def setting(grid: Grid) -> str:
    """What the columns are, and backbone, weights, protocol, split and precision of the data sets."""
    rules = [(data, _rules(grid, data)) for data in grid.spec.data]
    groups = [(text, [data for data, _ in group]) for text, group in groupby(rules, key=lambda pair: pair[1]) if text]
    alone = len(groups) == 1 and len(groups[0][1]) == len(grid.spec.data) > 1
    told = [text[0].upper() + text[1:] if alone else f"{', '.join(names)}: {text}" for text, names in groups]
    return " ".join(["Columns: sampling rate of the training images.", *(f"{text}." for text in told)])


def warnings(grid: Grid) -> list[str]:
    """A sentence each on missing runs, unequal numbers of runs, mixtures and the cells that mix, random weights."""
    told = [*_gaps(grid), *(_mixture(what, field, grid.cells) for field, what in OVER_ALL.items())]
    told.append(_instructions(grid))
    for data in grid.spec.data:
        cells = [cell for cell in grid.cells if cell.data == data]
        told += [_mixture(f"{what} in {data}", field, cells) for field, what in PER_DATA.items()]
        told += [_sources(grid, data), random_weights(grid, data), _changed(grid, data)]
    return [line for line in told if line]


def random_weights(grid: Grid, data: str) -> str:
    """A sentence on the runs of a data set that were not pre-trained, or nothing."""
    random, runs = sum(cell.random for cell in grid.cells if cell.data == data), len(grid.runs(data))
    return f"Random weights, not pre-trained, in {random} of {_plural(runs, 'run')} of {data}." if random else ""


def _alike(grid: Grid, runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that share all but method and rate: those of a replicate, or, in a table of seeds, all."""
    groups: dict[int, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.unit if grid.spec.unit == "replicate" else 0, []).append(run)
    return list(groups.values())


def _sources(grid: Grid, data: str) -> str:
    """A sentence on runs that should share their source weights and do not; other names of weights are told apart."""
    mixed, found = [], set()
    for runs in _alike(grid, grid.runs(data)):
        for name in {run.weights for run in runs}:
            marks = {run.weights_sha256 for run in runs if run.weights == name} - {""}
            if len(marks) > 1:
                mixed.append(runs[0].unit)
                found |= marks
    if not mixed:
        return ""
    where = f" in replicate {', '.join(map(str, sorted(set(mixed))))}" if grid.spec.unit == "replicate" else ""
    marks = ", ".join(f"{mark[:8]} in {_plural(_count(grid, data, mark), 'run')}" for mark in sorted(found))
    return f"Different source weights under one name in {data}{where} (SHA-256 {marks}): do not compare these runs."


def _count(grid: Grid, data: str, mark: str) -> int:
    return sum(run.weights_sha256 == mark for run in grid.runs(data))


def _instructions(grid: Grid) -> str:
    """A sentence on runs on CPUs whose vector instructions differ within a cell, or between methods that are paired.

    Sums are rounded differently then; runs that did not record their instructions are left out.
    """
    cells = [
        replace(cell, runs=tuple(r for r in cell.runs if r.instructions and r.device == "cpu")) for cell in grid.cells
    ]
    groups: dict[tuple[str, float, int], set[str]] = {}
    for run in (run for cell in cells for run in cell.runs):
        groups.setdefault((run.data, run.rate, run.unit), set()).add(run.instructions)
    within = any(len({run.instructions for run in cell.runs}) > 1 for cell in cells)
    pairs = sum(len(found) > 1 for found in groups.values())
    if not within and not pairs:
        return ""
    told = _mixture("instruction sets", "instructions", cells).removesuffix(".")
    return told + (f"; between methods that are paired in {_plural(pairs, 'place')}." if pairs else ".")


def _changed(grid: Grid, data: str) -> str:
    rates = []
    for rate in grid.spec.rates:
        runs = [run for run in grid.runs(data) if run.rate == rate]
        if any(len({run.images for run in alike} - {""}) > 1 for alike in _alike(grid, runs)):
            rates.append(f"{100 * rate:g} %")
    return (
        f"The images of {data} changed between its runs at {', '.join(rates)}: do not compare them." if rates else ""
    )


def split_rule(config: Mapping[str, Any]) -> str:
    """How a run's configuration holds out validation images."""
    protocol = config["protocol"]
    order = "before" if protocol["split_order"] == "split_then_sample" else "after"
    held = f"{100 * protocol['val']:g} % of the training images held out {order} sampling"
    held = held if protocol["val"] else "nothing held out"
    if _may_bring_validation(config.get("data", {})):
        held = f"validation images of its own, else {held}"
    return held


def _may_bring_validation(data: Mapping[str, Any]) -> bool:
    """Whether a data set of this kind has validation images of its own as a rule, COCO-70, or by its folders."""
    reader = data.get("reader")
    return reader in ("coco70", "folder") or (reader == "imagelist" and data.get("val") is not None)


def _rules(grid: Grid, data: str) -> str:
    named = [(field, "/".join(grid.names(field, data))) for field in PER_DATA]
    return ", ".join(text if field == "split" else f"{field} {text}" for field, text in named if text)


def _versions(grid: Grid) -> str:
    named = [(name, "/".join(grid.names(field))) for name, field in (("cotune_bench", "version"), ("torch", "torch"))]
    told = ", ".join(f"{name} {text}" for name, text in named if text)
    return told and f"{told}."


def _gaps(grid: Grid) -> list[str]:
    cells, told = grid.cells, []
    expected = sum(cell.expected for cell in cells)
    missing = expected - sum(cell.n for cell in cells)
    if missing:
        incomplete = sum(cell.n < cell.expected for cell in cells)
        told.append(f"Runs missing: {missing} of {expected}, in {incomplete} of {_plural(len(cells), 'cell')}.")
    sizes = Counter(cell.n for cell in cells if cell.n)
    if len(sizes) > 1:
        counts = ", ".join(f"n = {n} in {_plural(sizes[n], 'cell')}" for n in sorted(sizes))
        told.append(f"Unequal numbers of {grid.spec.unit}s: {counts}.")
    return told


def _mixture(what: str, field: str, cells: Sequence[Cell]) -> str:
    counts = Counter(_value(run, field) for cell in cells for run in cell.runs)
    if len(counts) < 2:
        return ""
    text = f"Mixed {what}: " + ", ".join(f"{name} in {_plural(counts[name], 'run')}" for name in sorted(counts))
    mixed = [cell for cell in cells if len({_value(run, field) for run in cell.runs}) > 1]
    if mixed:
        names = ", ".join(f"{cell.data} {cell.method} {cell.rate:g}" for cell in mixed[:NAMED])
        more = f" and {len(mixed) - NAMED} more" if len(mixed) > NAMED else ""
        text += f"; within {_plural(len(mixed), 'cell')}: {names}{more}"
    return f"{text}."


def _value(run: Run, field: str) -> str:
    return getattr(run, field) or "not recorded"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
