"""The runs behind every cell: scores, settings and versions, and the commands that run them again."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from cotune_bench.config import OF_REPLICATE
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.status import CellStatus, TableStatus
from cotune_bench.storage.records import Record, RecordStore

SCORES = ("Accuracy (%)", "NLL", "Validation (%)", "Seconds", "Finished", "Record")


@dataclass(frozen=True)
class CellView:
    """A cell and its runs.

    Attributes:
        anchor: the id of its runs.
        rows: a header and the scores of each finished run.
        lacking: a sentence for each other run.
        commands: one for each run, finished or not.
        details: titles and lines of settings and versions, with the units that share them if they differ.
    """

    anchor: str
    cell: Cell
    rows: list[tuple[str, ...]]
    lacking: list[str]
    commands: list[str]
    details: list[tuple[str, str]]


def anchor(table: str, cell: Cell) -> str:
    """The id of a cell's runs, and the fragment that leads there."""
    return "cell=" + "/".join(quote(part, safe="") for part in (table, cell.data, cell.method, f"{cell.rate:g}"))


def cell_views(grid: Grid, status: TableStatus, store: RecordStore) -> list[CellView]:
    """Every cell with its runs, in the grid's order."""
    records = {record.key: record for record in store.read(run.key for run in grid.runs())[0]}  # the newest is last
    asked = {(one.data, one.method, one.rate, one.unit): one for one in status.cells}
    return [
        _view(
            grid,
            cell,
            [asked[cell.data, cell.method, cell.rate, unit] for unit in grid.spec.units],
            {run.unit: records[run.key] for run in cell.runs if run.key in records},
            status.rest,
        )
        for cell in grid.cells
    ]


def _view(
    grid: Grid, cell: Cell, asked: Sequence[CellStatus], found: Mapping[int, Record], rest: Sequence[str]
) -> CellView:
    unit = grid.spec.unit
    lacking = {one.unit: f"failed: {one.detail}" if one.state == "failed" else "is not finished." for one in asked}
    commands = [
        ["cotune-bench", "run", *one.overrides, *rest, *["force=true"] * (one.unit in found)] for one in asked
    ]
    settings = {number: setting_lines(record.config, unit) for number, record in found.items()}
    versions = {number: _versions(record) for number, record in found.items()}
    return CellView(
        anchor(grid.spec.name, cell),
        cell,
        [(unit.capitalize(), *SCORES), *((str(number), *_scores(record)) for number, record in found.items())],
        [f"{unit.capitalize()} {number} {text}" for number, text in lacking.items() if number not in found],
        [shlex.join(command) for command in commands],
        _shared("Settings", unit, settings) + _shared("Versions, weights and data", unit, versions),
    )


def _scores(record: Record) -> tuple[str, ...]:
    validation = "–" if record.val_accuracy is None else f"{record.val_accuracy:.2f}"
    scores = (f"{record.accuracy:.2f}", f"{record.nll:.4f}", validation, f"{record.seconds:.1f}")
    return (*scores, record.finished[:16].replace("T", " "), record.key)


def setting_lines(config: Mapping, unit: str) -> list[str]:
    """Every setting that defines a result as ``name=value``; without what a unit sets."""
    left_out = ("seed",) if unit == "seed" else OF_REPLICATE
    return [f"{name}={value}" for name, value in leaves(config) if name not in left_out]


def leaves(values: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names and values of nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _versions(record: Record) -> list[str]:
    return [
        *(f"{name}: {value}" for name, value in sorted(record.environment.items())),
        f"weights: {record.weights}, sha256 {record.weights_sha256[:16]}",
        f"images: {record.train_images} trained, {record.test_images} tested, sha256 {record.data_sha256[:16]}",
    ]


def _shared(title: str, unit: str, texts: Mapping[int, list[str]]) -> list[tuple[str, str]]:
    """Each different text once; its title names the units that it belongs to if there are several texts."""
    units: dict[str, list[str]] = {}
    for number, lines in texts.items():
        units.setdefault("\n".join(lines), []).append(str(number))
    several = len(units) > 1
    return [(f"{title} of {unit} {', '.join(own)}" if several else title, text) for text, own in units.items()]
