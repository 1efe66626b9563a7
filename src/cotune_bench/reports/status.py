"""How far a table is, from the files alone: which cells are done, running, given up or not begun."""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby, product
from pathlib import Path

from cotune_bench import config as settings
from cotune_bench.config.tables import AXES, Cells, load_table, row_method, table_axes, table_cells
from cotune_bench.reports.tables import spaced
from cotune_bench.storage.records import RecordStore
from cotune_bench.storage.run_state import duration, read_status, silent
from cotune_bench.storage.slurm import job_states

STATES = ("done", "running", "stale", "interrupted", "failed", "missing")


@dataclass(frozen=True)
class CellStatus:
    """State of one run of a table; ``detail`` is empty or says more about the state.

    ``unit`` is the value on the table's ``axis``, replicate or seed; ``given`` are overrides for data and method.
    """

    data: str
    method: str
    rate: float
    unit: int
    state: str
    detail: str = ""
    axis: str = "replicate"
    given: tuple[str, ...] = ()

    @property
    def overrides(self) -> list[str]:
        """The command-line overrides that choose this cell."""
        given = self.given or (f"method={self.method}", f"data={self.data}")
        return [*given, f"rate={self.rate}", f"{self.axis}={self.unit}"]


@dataclass(frozen=True)
class TableStatus:
    """All cells of a table in its order; ``rest`` are the overrides that every cell shares but those of a sweep."""

    name: str
    results: str
    cells: list[CellStatus]
    rest: list[str] = field(default_factory=list)


def table_status(name: str, overrides: Sequence[str] = (), cells: Cells | None = None) -> TableStatus:
    """Look up every cell of a table under these overrides; a results folder need not exist.

    ``cells`` are those of the table under the overrides, where they are known already.
    """
    cells = cells or table_cells(load_table(name), overrides)
    store, jobs = RecordStore(Path(cells.results)), cache(job_states)
    found = []
    for place, key in zip(cells.places, cells.keys, strict=True):
        given = (*cells.given[place[1]], f"data={place[0]}")
        found.append(CellStatus(*place, *cell_state(store, key, jobs), axis=cells.unit, given=given))
    shared = zip(settings.parse(overrides), overrides, strict=True)
    names = [(override.key_or_group, text) for override, text in shared]
    rest = [text for name, text in names if name not in (*AXES, "jobs") and not name.startswith("hydra")]
    return TableStatus(name, cells.results, found, rest)


def not_begun(overrides: Sequence[str]) -> dict[str, int]:
    """Tables to which no record and no run's folder can belong, with the number of their cells.

    They follow from the names of files, and only where no setting but ``results=`` is given: composing the cells of
    every table would take half a minute.
    """
    if any(override.key_or_group != "results" for override in settings.parse(overrides)):
        return {}
    results = results_folder(overrides)
    cells = {
        path.name.partition("-rate")[0] for folder in ("records", "runs") for path in results.glob(f"{folder}/*")
    }
    found = {}
    for name in settings.choices("table"):
        table = load_table(name)
        axes = table_axes(table)
        methods = {row_method(table, row) for row in axes["method"]}
        if not any(f"{data}-{method}" in cells for data, method in product(axes["data"], methods)):
            found[name] = math.prod(map(len, axes.values()))
    return found


def results_folder(overrides: Sequence[str]) -> Path:
    """The results folder under these overrides."""
    return Path(settings.compose_config([text for text in overrides if text.startswith("results=")]).results)


def run_state(folder: Path) -> dict | None:
    """Status of a run from its folder, stale with a reason if its process is gone; None before it has begun."""
    status = read_status(folder / "status.json") or read_status(folder / "failure.json")  # it may fail early
    if status and status.setdefault("state", "failed") == "running":
        try:
            reason = silent(status)
        except (KeyError, ValueError, TypeError):
            reason = "its status cannot be read"
        status |= {"state": "stale", "reason": reason} if reason else {}
    return status


def cell_state(store: RecordStore, key: str, jobs: Callable = job_states) -> tuple[str, str]:
    """State of a cell and a line about it; a record is only looked for, not read.

    ``jobs`` gives the states of Slurm's jobs; it is called only for a cell that such a job has begun.
    """
    if store.path(key).exists():
        return "done", ""
    status = run_state(store.results / "runs" / key)
    if status is None:
        return "missing", ""
    state, progress = status["state"], f"{status.get('done', 0)}/{status.get('updates')} updates"
    if state == "failed":
        return "failed", str(status.get("reason", "")).partition("\n")[0]
    job = f", {_job(status['slurm_job'], jobs())}" if "slurm_job" in status else ""
    if state == "interrupted":
        return "interrupted", f"at {status.get('heard')}{job}"
    where = f"{status.get('host')} pid {status.get('pid')}{job}"
    if state == "stale":
        return "stale", f"{where}, {progress}, {status['reason']}"
    left = status.get("eta_s")
    return "running", f"{where}, {progress}" + ("" if left is None else f", {duration(left)} left")


def _job(job: str, states: dict[str, tuple[str, str]] | None) -> str:
    """A job of Slurm and its state, with the reason why it waits."""
    if states is None:
        return f"Slurm job {job}"
    state, reason = states.get(job, ("ended", "None"))
    return f"Slurm job {job} {state.lower()}" + ("" if reason == "None" else f" ({reason})")


def status_lines(table: TableStatus) -> list[str]:
    """What the terminal shows: done cells as a grid, the others by name, and the number of cells in each state."""
    counts = Counter(cell.state for cell in table.cells)
    totals = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    grid, others = _grid(table.cells), _others(table.cells)
    return [f"{table.name} in {table.results}", "", *grid, "", *others, f"{len(table.cells)} cells: {totals}"]


def _grid(cells: list[CellStatus]) -> list[str]:
    """For each data set and method, how many runs of each rate are done."""
    rates = list(dict.fromkeys(cell.rate for cell in cells))
    rows = [["", "", *(f"{rate:g}" for rate in rates)]]
    for (data, method), group in groupby(cells, key=lambda cell: (cell.data, cell.method)):
        row = list(group)
        counts = [[cell.state == "done" for cell in row if cell.rate == rate] for rate in rates]
        rows.append([data, method, *(f"{sum(done)}/{len(done)}" for done in counts)])
    return spaced(rows)


def _others(cells: list[CellStatus]) -> list[str]:
    """The cells that are not done; units and rates in the same state with nothing more to say share a line."""
    lines = []
    for state in STATES[1:]:
        chosen = [cell for cell in cells if cell.state == state]
        alike = groupby(chosen, key=lambda cell: (cell.data, cell.method, cell.detail, cell.rate))
        units = [(*place, tuple(str(cell.unit) for cell in group)) for place, group in alike]
        for (data, method, more, which), rows in groupby(units, key=lambda row: (*row[:3], row[4])):
            rates = [f"{row[3]:g}" for row in rows]
            named = f"{_named('rate', rates)} {_named(cells[0].axis, which)}"
            lines.append(f"{state:11}  {data} {method} {named}" + (f": {more}" if more else ""))
    return [*lines, ""] if lines else []


def _named(what: str, values: Sequence[str]) -> str:
    return f"{what}{'s' if len(values) > 1 else ''} {', '.join(values)}"


def rerun_commands(table: TableStatus) -> list[str]:
    """For each failed cell, the command that runs it again."""
    failed = [cell for cell in table.cells if cell.state == "failed"]
    return [shlex.join(["cotune-bench", "run", *cell.overrides, *table.rest]) for cell in failed]
