"""What a reader must know of a grid: a caption that says what is shown, and warnings; plain text for every format."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from cotune_bench.reports.grid import SPREADS, Grid, Run

#: Fields of a run that a table should not mix, by what they are called.
OVER_ALL = {"version": "cotune_bench versions", "torch": "torch versions", "device": "devices"}
PER_DATA = {
    "backbone": "backbones",
    "weights": "weights",
    "protocol": "protocols",
    "split": "splits",
    "precision": "precisions",
}
CELL = ("data", "method", "rate")  # fields of a run
NAMED = 3  # cells that a warning names before it only counts


def caption(grid: Grid, best: str = "bold", below: str = "below the line") -> str:
    """What is shown and under which rules, in a few sentences.

    Args:
        grid: what is shown.
        best: how the best values are marked.
        below: how baselines are set apart.
    """
    column = "column" if len(grid.spec.data) == 1 else "column within a data set"
    marked = f"Highest mean of each {column}: {best}." if grid.runs() else ""
    baselines = f"Rows {below} are baselines: not compared, never marked." if grid.spec.baselines else ""
    versions = _named(grid, {"version": "cotune_bench", "torch": "torch"})
    parts = (statistic(grid), marked, baselines, setting(grid), versions and f"{versions}.", grid.spec.note)
    return " ".join(part for part in parts if part)


def statistic(grid: Grid, value: str = "top-1 test accuracy in percent") -> str:
    """What a mean ± spread of ``value`` is: over what, and which variation the ± contains."""
    sizes = sorted({cell.n for cell in grid.cells if cell.n})
    if not sizes:
        return f"{value[0].upper()}{value[1:]}; no run has finished yet."
    several, replicates = sizes[-1] > 1, grid.spec.unit == "replicate"
    what = ("" if replicates else "training ") + grid.spec.unit + ("s" if several else "")
    n = f"n = {sizes[0]}" + (f" to {sizes[-1]}" if len(sizes) > 1 else "") + f" {what}"
    mean = f"Mean ± {SPREADS[grid.spec.std]} over {n}" if several else f"One run, {n}"
    if replicates:
        return f"{mean}{_of_replicates(grid) if several else ''}, {value}."
    rest = " The ± does not contain how much another split, sample or source network would change." * several
    return f"{mean} on one split and sample, {value}.{rest}"


def _of_replicates(grid: Grid) -> str:
    """What differs between replicates: the source network, too, where their runs recorded several."""
    counts = {}
    for data in grid.spec.data:
        if runs := grid.runs(data):
            first = {run.unit: run.weights_sha256 for run in reversed(runs) if run.weights_sha256}
            counts[data] = len(set(first.values()))
    if all(count > 1 for count in counts.values()):
        return " (each with its own source network, split, sample and training seed)"
    own = "each with its own split, sample and training seed"
    if several := [data for data, count in counts.items() if count > 1]:
        return f" ({own}, and its own source network on {', '.join(several)})"
    return f" ({own}; the source network is the same)" if all(counts.values()) else f" ({own})"


def setting(grid: Grid) -> str:
    """What the columns are, and backbone, weights, protocol, split and precision of the data sets."""
    rules = [
        (data, _named(grid, {field: field for field in PER_DATA} | {"split": ""}, data)) for data in grid.spec.data
    ]
    groups = [(text, [data for data, _ in group]) for text, group in groupby(rules, key=lambda pair: pair[1]) if text]
    alone = len(groups) == 1 and len(groups[0][1]) == len(grid.spec.data) > 1
    parts = [text[0].upper() + text[1:] if alone else f"{', '.join(names)}: {text}" for text, names in groups]
    return " ".join(["Columns: sampling rate of the training images.", *(f"{text}." for text in parts)])


def _named(grid: Grid, fields: dict[str, str], data: str | None = None) -> str:
    """The recorded values of these fields of the runs, each behind what the field is called."""
    values = {called: "/".join(grid.names(field, data)) for field, called in fields.items()}
    return ", ".join(f"{called} {text}".strip() for called, text in values.items() if text)


def warnings(grid: Grid) -> list[str]:
    """A sentence each on missing runs, unequal numbers of runs, mixtures and the cells that mix, random weights."""
    lines = [*_gaps(grid), *(_mixture(what, field, grid.runs()) for field, what in OVER_ALL.items())]
    lines.append(_instructions(grid))
    for data in grid.spec.data:
        lines += [_mixture(f"{what} in {data}", field, grid.runs(data)) for field, what in PER_DATA.items()]
        lines += [_sources(grid, data), random_weights(grid, data), _changed(grid, data)]
    return [line for line in lines if line]


def random_weights(grid: Grid, data: str) -> str:
    """A sentence on the runs of a data set that were not pre-trained, or nothing."""
    runs = grid.runs(data)
    random = sum(run.weights == "random" for run in runs)
    return f"Random weights, not pre-trained, in {random} of {plural(len(runs), 'run')} of {data}." if random else ""


def _mixed(runs: Sequence[Run], field: str, by: Sequence[str]) -> dict[tuple, set[str]]:
    """The groups of runs, by these fields, in which a field has several values, with these values."""
    groups: dict[tuple, set[str]] = {}
    for run in runs:
        groups.setdefault(tuple(getattr(run, name) for name in by), set()).add(getattr(run, field))
    return {place: found for place, found in groups.items() if len(found) > 1}


def _shared(grid: Grid) -> tuple[str, ...]:
    """Fields of runs that must have the same images and weights: a replicate's, or, in a table of seeds, all."""
    return ("unit",) if grid.spec.unit == "replicate" else ()


def _sources(grid: Grid, data: str) -> str:
    """A sentence on runs that should share their source weights and do not; other names of weights are kept apart."""
    runs = [run for run in grid.runs(data) if run.weights_sha256]
    mixed = _mixed(runs, "weights_sha256", ("weights", *_shared(grid)))
    if not mixed:
        return ""
    units = sorted({unit for _, *units in mixed for unit in units})
    where = f" in replicate {', '.join(map(str, units))}" if units else ""
    counts = Counter(run.weights_sha256 for run in runs)
    marks = ", ".join(f"{mark[:8]} in {plural(counts[mark], 'run')}" for mark in sorted(set.union(*mixed.values())))
    return f"Different source weights under one name in {data}{where} (SHA-256 {marks}): do not compare these runs."


def _instructions(grid: Grid) -> str:
    """A sentence on runs on CPUs whose vector instructions differ within a cell, or between methods that are paired.

    Sums are rounded differently then; runs that did not record their instructions are left out.
    """
    runs = [run for run in grid.runs() if run.instructions and run.device == "cpu"]
    pairs = _mixed(runs, "instructions", ("data", "rate", "unit"))
    if not pairs and not _mixed(runs, "instructions", CELL):
        return ""
    text = _mixture("instruction sets", "instructions", runs)
    between = f"; between methods that are paired in {plural(len(pairs), 'place')}."
    return text.removesuffix(".") + between if pairs else text


def _changed(grid: Grid, data: str) -> str:
    """A sentence on rates at which the images were not the same."""
    mixed = _mixed([run for run in grid.runs(data) if run.images], "images", ("rate", *_shared(grid)))
    rates = [f"{100 * rate:g} %" for rate in grid.spec.rates if any(place[0] == rate for place in mixed)]
    return (
        f"The images of {data} changed between its runs at {', '.join(rates)}: do not compare them." if rates else ""
    )


def _gaps(grid: Grid) -> list[str]:
    lacking, lines = [cell.expected - cell.n for cell in grid.cells if cell.n < cell.expected], []
    if lacking:
        asked = sum(cell.expected for cell in grid.cells)
        where = f"{len(lacking)} of {plural(len(grid.cells), 'cell')}"
        lines.append(f"Runs missing: {sum(lacking)} of {asked}, in {where}.")
    sizes = Counter(cell.n for cell in grid.cells if cell.n)
    if len(sizes) > 1:
        counts = ", ".join(f"n = {n} in {plural(sizes[n], 'cell')}" for n in sorted(sizes))
        lines.append(f"Unequal numbers of {grid.spec.unit}s: {counts}.")
    return lines


def _mixture(what: str, field: str, runs: Sequence[Run]) -> str:
    counts = Counter(getattr(run, field) or "not recorded" for run in runs)
    if len(counts) < 2:
        return ""
    text = f"Mixed {what}: " + ", ".join(f"{name} in {plural(counts[name], 'run')}" for name in sorted(counts))
    if cells := [f"{data} {method} {rate:g}" for data, method, rate in _mixed(runs, field, CELL)]:
        more = f" and {len(cells) - NAMED} more" if len(cells) > NAMED else ""
        text += f"; within {plural(len(cells), 'cell')}: {', '.join(cells[:NAMED])}{more}"
    return f"{text}."


def plural(count: int, noun: str) -> str:
    """Such as "1 run" and "2 runs"."""
    return f"{count} {noun}" + ("" if count == 1 else "s")
