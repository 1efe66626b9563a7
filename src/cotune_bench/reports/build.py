"""From the name of a table to its files: which records belong to it, and what is written where."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cotune_bench.config import choices
from cotune_bench.config.tables import Cells, load_table, table_cells
from cotune_bench.reports.costs import cost_texts
from cotune_bench.reports.figures import write_figures
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.own_images import own_tables
from cotune_bench.reports.page import Part, report_html, table_html
from cotune_bench.reports.published import compare_texts, paper_table
from cotune_bench.reports.status import not_begun, results_folder, table_status
from cotune_bench.reports.tables import print_grid, to_csv, to_latex, to_markdown
from cotune_bench.storage.files import check_writable, write_atomically
from cotune_bench.storage.records import RecordStore

MANY = 8  # verdicts on single columns that the terminal shows


def table_grid(name: str, overrides: Sequence[str] = (), cells: Cells | None = None) -> tuple[Grid, Path, list[str]]:
    """A table's grid, its results folder, and a line for each damaged record.

    A record belongs to a cell only if all of its configuration is the cell's; a run with another trade-off or
    protocol is another experiment. Overrides apply as they do to ``run.py table=NAME``; ``cells`` are those of the
    table under them, where they are known already.
    """
    table = load_table(name)
    cells = cells or table_cells(table, overrides)
    results = Path(cells.results)
    records, damaged = RecordStore(results).read(cells.keys)
    spec = TableSpec(
        name=name,
        title=table["title"],
        data=cells.data,
        methods=cells.method,
        rates=cells.rate,
        units=cells.units,
        unit=cells.unit,
        std=table["std"],
        note=table.get("note", ""),
        baselines=cells.baseline,
        apart=tuple(row for row, given in table["rows"].items() if any(one.startswith("backbone") for one in given)),
    )
    frame, cut = run_frame(records)
    rows = {key: row for (_, row, _, _), key in zip(cells.places, cells.keys, strict=True)}
    return build_grid(spec, frame.assign(method=[rows[key] for key in frame["key"]])), results, damaged + cut


def make_tables(
    names: Sequence[str] = (), overrides: Sequence[str] = (), *, warn: bool = True
) -> tuple[list[Path], list[str]]:
    """Write the tables of these names to ``results/tables`` and print them; by default all, and those of own images.

    Figures are written to ``figures``, and ``report.html`` is a page of all these tables.

    Args:
        names: of tables.
        overrides: as for ``run.py``.
        warn: name the records that cannot be read.

    Returns:
        the files written, and a line for each table that lacks runs.
    """
    console, parts, damaged = Console(), [], []
    empty = {} if names else not_begun(overrides)
    lacking = [_lacking(name, overrides, count, count) for name, count in empty.items()]
    for name in names or [name for name in choices("table") if name not in empty]:
        table = load_table(name)
        cells = table_cells(table, overrides)
        grid, results, unread = table_grid(name, overrides, cells)
        damaged += unread
        if missing := len(cells.keys) - len(grid.runs()):
            lacking.append(_lacking(name, overrides, missing, len(cells.keys)))
        if not grid.runs() and not names:
            empty[name] = len(cells.keys)
            continue
        paper = paper_table(name, table.get("paper"))
        parts.append(Part(grid, paper, table_status(name, overrides, cells), results))
    for name, count in empty.items():
        console.print(f"{name}: no run yet; cotune-bench run table={name} runs its {count} cells")
    if not names:
        results = results_folder(overrides)
        own, unread = own_tables(results)
        parts += [Part(grid, None, status, results) for grid, status in own]
        damaged = unread + damaged
    for line in dict.fromkeys(damaged) if warn else ():
        print(f"warning: {line}", file=sys.stderr)
    written = [path for part in parts for path in _part_files(part, console)]
    for results in dict.fromkeys(part.results for part in parts):
        page = report_html([part for part in parts if part.results == results], list(empty))
        write_atomically(results / "report.html", page.encode())
        written.append(results / "report.html")
    for path in written:
        print(path)
    return written, lacking


def _lacking(name: str, overrides: Sequence[str], missing: int, count: int) -> str:
    status = shlex.join(["cotune-bench", "status", f"table={name}", *overrides])
    return f"{name}: {missing} of {count} runs are missing: {status}"


def _part_files(part: Part, console: Console) -> list[Path]:
    """Write the files of one table, and print it."""
    grid, name, folder = part.grid, part.grid.spec.name, part.results / "tables"
    for place in (folder, part.results / "figures"):
        check_writable(place)
    columns, whole = part.verdict
    verdict = [*columns, whole]
    texts = {f"{name}.md": to_markdown(grid, verdict), f"{name}.csv": to_csv(grid), f"{name}.tex": to_latex(grid)}
    texts |= {f"{name}.html": table_html(grid, verdict)} | compare_texts(grid, part.paper) | cost_texts(grid)
    for file, text in texts.items():
        write_atomically(folder / file, text.encode())
    figures, left_out = part.figures
    if len(columns) > MANY:
        columns = [f"A verdict for each of the {len(columns)} columns: {folder / name}.md"]
    print_grid(grid, console, [*columns, whole])
    for line in left_out:
        console.print(f"Figures: {line}", style="yellow", markup=False)
    return [*(folder / file for file in texts), *write_figures(figures, part.results / "figures")]
