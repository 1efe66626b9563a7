"""The runs behind every cell: scores, training curve, configuration, versions, and how to run them again."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from cotune_bench.config import OF_REPLICATE
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.page.curves import curve_svg, read_curve
from cotune_bench.reports.status import CellStatus, TableStatus
from cotune_bench.storage.records import Record, RecordStore


@dataclass(frozen=True)
class RunView:
    """One asked run of a cell; without a record, ``told`` says why. ``curve`` is HTML, empty where no metrics lie."""

    unit: int
    command: str
    record: Record | None
    curve: str
    told: str


@dataclass(frozen=True)
class CellView:
    """A cell, its runs by unit, and the settings and versions behind them with the units that share each."""

    anchor: str
    cell: Cell
    runs: tuple[RunView, ...]
    settings: tuple[tuple[str, str], ...]  # units, lines
    versions: tuple[tuple[str, str], ...]


def anchor(table: str, cell: Cell) -> str:
    """The id of a cell's runs, and the fragment that leads there."""
    return "cell=" + "/".join(quote(part, safe="") for part in (table, cell.data, cell.method, f"{cell.rate:g}"))


def cell_views(grid: Grid, status: TableStatus, store: RecordStore) -> list[CellView]:
    """What lies behind every cell, in the grid's order."""
    records = {record.key: record for record in store.read(run.key for run in grid.runs())[0]}  # the newest is last
    places = {(one.data, one.method, one.rate, one.unit): one for one in status.cells}
    views = []
    for cell in grid.cells:
        found = {run.unit: records[run.key] for run in cell.runs if run.key in records}
        asked = [places[cell.data, cell.method, cell.rate, unit] for unit in grid.spec.units]
        views.append(
            CellView(
                anchor(grid.spec.name, cell),
                cell,
                tuple(_run(one, found.get(one.unit), status.rest, store) for one in asked),
                _shared({unit: "\n".join(setting_lines(one.config, grid.spec.unit)) for unit, one in found.items()}),
                _shared({unit: _versions(record) for unit, record in found.items()}),
            )
        )
    return views


def _run(one: CellStatus, record: Record | None, rest: Sequence[str], store: RecordStore) -> RunView:
    again = [] if record is None else ["force=true"]
    command = shlex.join(["cotune-bench", "run", *one.overrides, *rest, *again])
    if record is None:
        told = f"failed: {one.told}" if one.state == "failed" else "not finished"
        return RunView(one.unit, command, None, "", told)
    curve = read_curve(store.results / "runs" / record.key / "metrics.csv")
    return RunView(one.unit, command, record, curve_svg(curve, f"{one.axis} {one.unit}") if curve else "", "")


def setting_lines(config: Mapping, unit: str) -> list[str]:
    """Every setting that defines a result as ``name=value``; without what a unit sets."""
    left_out = ("seed",) if unit == "seed" else OF_REPLICATE
    lines = [(name, value) for name, value in leaves(config) if name not in left_out]
    return [f"{name}={value}" for name, value in lines]


def leaves(values: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names and values of nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _versions(record: Record) -> str:
    lines = [f"{name}: {value}" for name, value in sorted(record.environment.items())]
    lines.append(f"weights: {record.weights}, sha256 {record.weights_sha256[:16]}")
    lines.append(
        f"images: {record.train_images} trained, {record.test_images} tested, sha256 {record.data_sha256[:16]}"
    )
    return "\n".join(lines)


def _shared(texts: Mapping[int, str]) -> tuple[tuple[str, str], ...]:
    """Each different text once, with the units that it belongs to."""
    units: dict[str, list[int]] = {}
    for unit, text in texts.items():
        units.setdefault(text, []).append(unit)
    return tuple((", ".join(map(str, found)), text) for text, found in units.items())
