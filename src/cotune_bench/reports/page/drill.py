"""The runs behind every cell: scores, training curve, configuration, versions, and how to run them again."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from cotune_bench.records import Record, RecordStore
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.page.curves import curve_svg, read_curve
from cotune_bench.reports.status import CellStatus, TableStatus


@dataclass(frozen=True)
class RunView:
    """One asked run of a cell; without a record, ``told`` says why. ``curve`` is HTML, empty where no metrics lie."""

    seed: int
    command: str
    record: Record | None
    curve: str
    told: str


@dataclass(frozen=True)
class CellView:
    """A cell, its runs by seed, and the settings and versions behind them with the seeds that share each."""

    anchor: str
    cell: Cell
    runs: tuple[RunView, ...]
    settings: tuple[tuple[str, str], ...]  # seeds, lines
    versions: tuple[tuple[str, str], ...]


def anchor(table: str, cell: Cell) -> str:
    """The id of a cell's runs, and the fragment that leads there."""
    return "cell=" + "/".join(quote(part, safe="") for part in (table, cell.data, cell.method, f"{cell.rate:g}"))


def cell_views(grid: Grid, status: TableStatus, store: RecordStore) -> list[CellView]:
    """What lies behind every cell, in the grid's order."""
    records = {record.key: record for record in store.read(run.key for run in grid.runs())[0]}  # the newest is last
    places = {(one.data, one.method, one.rate, one.seed): one for one in status.cells}
    views = []
    for cell in grid.cells:
        found = {run.seed: records[run.key] for run in cell.runs if run.key in records}
        asked = [places[cell.data, cell.method, cell.rate, seed] for seed in grid.spec.units]
        views.append(
            CellView(
                anchor(grid.spec.name, cell),
                cell,
                tuple(_run(one, found.get(one.seed), status.rest, store) for one in asked),
                _shared({seed: "\n".join(setting_lines(record.config)) for seed, record in found.items()}),
                _shared({seed: _versions(record) for seed, record in found.items()}),
            )
        )
    return views


def _run(one: CellStatus, record: Record | None, rest: Sequence[str], store: RecordStore) -> RunView:
    again = [] if record is None else ["force=true"]
    command = shlex.join(["python", "run.py", *one.overrides, *rest, *again])
    if record is None:
        told = f"failed: {one.told}" if one.state == "failed" else "not finished"
        return RunView(one.seed, command, None, "", told)
    curve = read_curve(store.results / "runs" / record.key / "metrics.csv")
    return RunView(one.seed, command, record, curve_svg(curve, one.seed) if curve else "", "")


def setting_lines(config: Mapping) -> list[str]:
    """Every setting that defines a result as ``name=value``; without the seed and what is called."""
    return [f"{name}={value}" for name, value in leaves(config) if name != "seed" and not name.endswith("_target_")]


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
    """Each different text once, with the seeds that it belongs to."""
    seeds: dict[str, list[int]] = {}
    for seed, text in texts.items():
        seeds.setdefault(text, []).append(seed)
    return tuple((", ".join(map(str, found)), text) for text, found in seeds.items())
