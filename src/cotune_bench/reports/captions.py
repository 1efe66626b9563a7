"""What a reader must know of a grid: a caption that says what is shown, and warnings; plain text for every format."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from cotune_bench.reports.grid import SPREADS, Cell, Grid, Run

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


def caption(grid: Grid, best: str = "bold") -> str:
    """What is shown and under which rules, in a few sentences; ``best`` tells how the best values are marked."""
    return " ".join(
        sentence for sentence in (_statistic(grid, best), setting(grid), _versions(grid), grid.spec.note) if sentence
    )


def setting(grid: Grid) -> str:
    """What the columns are, and backbone, weights, protocol, split and precision of the data sets."""
    rules = [(data, _rules(grid, data)) for data in grid.spec.data]
    groups = [(text, [data for data, _ in group]) for text, group in groupby(rules, key=lambda pair: pair[1]) if text]
    alone = len(groups) == 1 and len(groups[0][1]) == len(grid.spec.data) > 1
    told = [text[0].upper() + text[1:] if alone else f"{', '.join(names)}: {text}" for text, names in groups]
    return " ".join(["Columns: sampling rate of the training images.", *(f"{text}." for text in told)])


def warnings(grid: Grid) -> list[str]:
    """A sentence each on missing runs, unequal numbers of seeds, mixtures and the cells that mix, random weights."""
    told = [*_gaps(grid.cells), *(_mixture(what, field, grid.cells) for field, what in OVER_ALL.items())]
    for data in grid.spec.data:
        cells = [cell for cell in grid.cells if cell.data == data]
        told += [_mixture(f"{what} in {data}", field, cells) for field, what in PER_DATA.items()]
        told += [random_weights(grid, data), _changed(grid, data)]
    return [line for line in told if line]


def random_weights(grid: Grid, data: str) -> str:
    """A sentence on the runs of a data set that were not pre-trained, or nothing."""
    random, runs = sum(cell.random for cell in grid.cells if cell.data == data), len(grid.runs(data))
    return f"Random weights, not pre-trained, in {random} of {_plural(runs, 'run')} of {data}." if random else ""


def _changed(grid: Grid, data: str) -> str:
    rates = []
    for rate in grid.spec.rates:
        runs = [run for method in grid.spec.methods for run in grid.cell(data, method, rate).runs]
        if len({run.images for run in runs} - {""}) > 1:
            rates.append(f"{100 * rate:g} %")
    return (
        f"The images of {data} changed between its runs at {', '.join(rates)}: do not compare them." if rates else ""
    )


def split_text(config: Mapping[str, Any]) -> str:
    """The split that a run's configuration asks for."""
    protocol = config["protocol"]
    order = "before" if protocol["split_order"] == "split_then_sample" else "after"
    held = f"{100 * protocol['val']:g} % of the training images held out {order} sampling"
    held = held if protocol["val"] else "nothing held out"
    if _may_bring_validation(config.get("data", {})):
        held = f"validation images of its own, else {held}"
    return f"split {config['split_seed']} ({held})"


def _may_bring_validation(data: Mapping[str, Any]) -> bool:
    """Whether a data set of this kind has validation images of its own as a rule, COCO-70, or by its folders."""
    module = str(data.get("_target_", "")).split(".")[-2:-1]
    return module in (["coco70"], ["folder"]) or (module == ["imagelist"] and data.get("val") is not None)


def _statistic(grid: Grid, best: str) -> str:
    sizes = sorted({cell.n for cell in grid.cells if cell.n})
    if not sizes:
        return "Top-1 test accuracy in percent; no run has finished yet."
    seeds = f"n = {sizes[0]}" + (f" to {sizes[-1]}" if len(sizes) > 1 else "")
    seeds += " seeds" if sizes[-1] > 1 else " seed"
    statistic = f"Mean ± {SPREADS[grid.spec.std]} over {seeds}" if sizes[-1] > 1 else f"One run, {seeds}"
    column = "column" if len(grid.spec.data) == 1 else "column within a data set"
    return f"{statistic}, top-1 test accuracy in percent; best of each {column} {best}."


def _rules(grid: Grid, data: str) -> str:
    named = [(field, "/".join(grid.names(field, data))) for field in PER_DATA]
    return ", ".join(text if field == "split" else f"{field} {text}" for field, text in named if text)


def _versions(grid: Grid) -> str:
    named = [(name, "/".join(grid.names(field))) for name, field in (("cotune_bench", "version"), ("torch", "torch"))]
    told = ", ".join(f"{name} {text}" for name, text in named if text)
    return told and f"{told}."


def _gaps(cells: Sequence[Cell]) -> list[str]:
    told = []
    expected = sum(cell.expected for cell in cells)
    missing = expected - sum(cell.n for cell in cells)
    if missing:
        incomplete = sum(cell.n < cell.expected for cell in cells)
        told.append(f"Runs missing: {missing} of {expected}, in {incomplete} of {_plural(len(cells), 'cell')}.")
    sizes = Counter(cell.n for cell in cells if cell.n)
    if len(sizes) > 1:
        counts = ", ".join(f"n = {n} in {_plural(sizes[n], 'cell')}" for n in sorted(sizes))
        told.append(f"Unequal numbers of seeds: {counts}.")
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
