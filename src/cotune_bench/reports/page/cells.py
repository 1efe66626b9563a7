"""The runs behind every cell: scores, settings and versions, and the commands that run them again."""

import shlex
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from cotune_bench.config import OF_REPLICATE
from cotune_bench.config.changed import changed_text, leaves
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.status import CellStatus, TableStatus
from cotune_bench.storage.records import Record, RecordStore

SCORES = ("Accuracy (%)", "NLL", "Validation (%)", "Seconds", "Finished", "Record", "Changed")


def anchor(table: str, cell: Cell) -> str:
    """The id of a cell's runs, and the fragment that leads there."""
    return "cell=" + "/".join(quote(part, safe="") for part in (table, cell.data, cell.method, f"{cell.rate:g}"))


def cell_views(grid: Grid, status: TableStatus, store: RecordStore) -> list[dict[str, Any]]:
    """Every ``cell`` with its runs, in the grid's order.

    ``anchor`` is their id, ``rows`` a header and the scores of each finished run, ``lacking`` a sentence for each
    other run, ``commands`` one for each, ``details`` a title and settings and versions of each group of like units.
    """
    records = {record.key: record for record in store.read(run.key for run in grid.runs())[0]}  # the newest is last
    asked: dict[tuple[str, str, float], list[CellStatus]] = {}
    for one in status.cells:
        asked.setdefault((one.data, one.method, one.rate), []).append(one)
    return [_view(grid, cell, asked[cell.data, cell.method, cell.rate], records, status.rest) for cell in grid.cells]


def _view(
    grid: Grid, cell: Cell, asked: Sequence[CellStatus], records: dict[str, Record], rest: Sequence[str]
) -> dict[str, Any]:
    found = {run.unit: records[run.key] for run in cell.runs if run.key in records}
    name, lacking, commands = grid.spec.unit.capitalize(), [], []
    for one in asked:
        force = ["force=true"] * (one.unit in found)
        commands.append(shlex.join(["cotune-bench", "run", *one.overrides, *rest, *force]))
        if not force:
            failed = f"failed: {one.detail}" if one.state == "failed" else "is not finished."
            lacking.append(f"{name} {one.unit} {failed}")
    texts: dict[str, list[str]] = {}
    for unit, record in found.items():
        texts.setdefault("\n".join(settings(record, grid.spec.unit)), []).append(str(unit))
    title = "Settings, versions, weights and data"
    details = [(f"{title} of {grid.spec.unit} {', '.join(units)}", text) for text, units in texts.items()]
    rows = [(name, *SCORES), *((str(unit), *_scores(record)) for unit, record in found.items())]
    ours = {"rows": rows, "lacking": lacking, "commands": commands, "details": details}
    return {"anchor": anchor(grid.spec.name, cell), "cell": cell, **ours}


def _scores(record: Record) -> tuple[str, ...]:
    validation = "–" if record.val_accuracy is None else f"{record.val_accuracy:.2f}"
    scores = (f"{record.accuracy:.2f}", f"{record.nll:.4f}", validation, f"{record.seconds:.1f}")
    return (*scores, record.finished[:16].replace("T", " "), record.key, changed_text(record))


def settings(record: Record, unit: str) -> list[str]:
    """Every setting that defines a result, without what a unit sets, and what it was computed with and from."""
    left_out = ("seed",) if unit == "seed" else OF_REPLICATE
    return [
        *(f"{name}={value}" for name, value in leaves(record.config) if name not in left_out),
        *(f"{name}: {value}" for name, value in sorted(record.environment.items())),
        f"weights: {record.weights}, sha256 {record.weights_sha256[:16]}",
        f"images: {record.train_images} trained, {record.test_images} tested, sha256 {record.data_sha256[:16]}",
    ]
