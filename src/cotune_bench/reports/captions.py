"""What a reader must know of a grid: a caption that says what is shown, and warnings; plain text for every format."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from cotune_bench.errors import count
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
ACCURACY = "top-1 test accuracy in percent"
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


def statistic(grid: Grid) -> str:
    """What a mean ± spread is: over what, and which variation the ± contains."""
    sizes = sorted({cell.n for cell in grid.cells if cell.n})
    if not sizes:
        return "Top-1 test accuracy in percent; no run has finished yet."
    several, replicates = sizes[-1] > 1, grid.spec.unit == "replicate"
    what = ("" if replicates else "training ") + grid.spec.unit + ("s" if several else "")
    n = f"n = {sizes[0]}" + (f" to {sizes[-1]}" if len(sizes) > 1 else "") + f" {what}"
    mean = f"Mean ± {SPREADS[grid.spec.std]} over {n}" if several else f"One run, {n}"
    if replicates:
        return f"{mean}{f' (each with its own {own_of_replicates(grid)})' * several}, {ACCURACY}."
    rest = " The ± does not contain how much another split, sample or source network would change." * several
    return f"{mean} on one split and sample, {ACCURACY}.{rest}"


def own_of_replicates(grid: Grid) -> str:
    """What differs between replicates: source network and test images, too, where all data sets' runs say so."""

    def several(field: str) -> bool:
        """Whether replicates of every data set have recorded different values."""
        found = [{run.unit: getattr(run, field) for run in reversed(grid.runs(data))} for data in grid.spec.data]
        return all(len(set(values.values()) - {""}) > 1 for values in found if values)

    network, images = ["source network"] * several("weights_sha256"), ["test images"] * several("test_sha256")
    return listed([*network, "split", "sample", "training seed", *images])


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
    """A sentence each on missing runs, unequal numbers of runs, mixtures, random weights and runs that clash."""
    lines = [*_gaps(grid), *(_mixture(what, field, grid.runs()) for field, what in OVER_ALL.items())]
    for data in grid.spec.data:
        runs = grid.runs(data)
        alike = [run for run in runs if run.method not in grid.spec.apart]
        contenders = [run for run in alike if run.method in grid.spec.methods]  # a baseline may be another network
        compared = {"backbone": contenders, "weights": alike}
        for field, what in PER_DATA.items():
            lines.append(_mixture(f"{what} in {data}", field, compared.get(field, runs)))
        on_cpu = [run for run in runs if run.device == "cpu" and run.instructions]  # sums are rounded by these
        lines += [_mixture(f"instruction sets in {data}", "instructions", on_cpu), random_weights(grid, data)]
        shared = ("unit",) if grid.spec.unit == "replicate" else ()
        sources = ("backbone", "weights", *shared)
        lines.append(_clash(f"source weights under one name in {data}", "weights_sha256", sources, runs))
        lines.append(_clash(f"images in {data}", "images", ("rate", *shared), runs))
    return [line for line in lines if line]


def random_weights(grid: Grid, data: str) -> str:
    """A sentence on the runs of a data set that were not pre-trained, or nothing."""
    runs = grid.runs(data)
    random = sum(run.weights == "random" for run in runs)
    return f"Random weights, not pre-trained, in {random} of {count(len(runs), 'run')} of {data}." if random else ""


def _gaps(grid: Grid) -> list[str]:
    lacking, lines = [cell.expected - cell.n for cell in grid.cells if cell.n < cell.expected], []
    if lacking:
        asked, cells = sum(cell.expected for cell in grid.cells), count(len(grid.cells), "cell")
        lines.append(f"Runs missing: {sum(lacking)} of {asked}, in {len(lacking)} of {cells}.")
    sizes = Counter(cell.n for cell in grid.cells if cell.n)
    if len(sizes) > 1:
        counts = ", ".join(f"n = {n} in {count(sizes[n], 'cell')}" for n in sorted(sizes))
        lines.append(f"Unequal numbers of {grid.spec.unit}s: {counts}.")
    return lines


def _mixture(what: str, field: str, runs: Sequence[Run]) -> str:
    """A sentence on runs that differ in a field, and the cells whose own runs do; nothing if they agree."""
    counts = Counter(getattr(run, field) or "not recorded" for run in runs)
    if len(counts) < 2:
        return ""
    text = f"Mixed {what}: " + ", ".join(f"{name} in {count(counts[name], 'run')}" for name in sorted(counts))
    cells = _mixed(runs, field, ("data", "method", "rate"))
    return text + (f"; within {count(len(cells), 'cell')}: {_few(cells)}." if cells else ".")


def _clash(what: str, field: str, shared: Sequence[str], runs: Sequence[Run]) -> str:
    """A sentence on runs that have these fields in common and must not differ in ``field``; nothing if they agree."""
    places = _mixed([run for run in runs if getattr(run, field)], field, shared)
    return f"Different {what} ({' '.join(shared)}: {_few(places)}): do not compare these runs." if places else ""


def _mixed(runs: Sequence[Run], field: str, by: Sequence[str]) -> list[str]:
    """The groups of runs, by these fields, in which a field has several values."""
    groups: dict[str, set[str]] = {}
    for run in runs:
        place = (getattr(run, name) for name in by)
        text = " ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in place)
        groups.setdefault(text, set()).add(getattr(run, field))
    return [text for text, found in groups.items() if len(found) > 1]


def _few(places: Sequence[str]) -> str:
    more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
    return ", ".join(places[:NAMED]) + more


def listed(names: Sequence[str], last: str = "and") -> str:
    """Names as an English list."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
