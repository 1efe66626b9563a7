"""From the name of a table to its files: which records belong to it, and what is written where."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cotune_bench.config import choices, compose_config
from cotune_bench.config.tables import Cells, load_table, table_cells
from cotune_bench.reports.captions import plural
from cotune_bench.reports.figures import write_figures
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import Cell, Grid, TableSpec, build_grid
from cotune_bench.reports.own_images import own_tables
from cotune_bench.reports.page import Part, table_html, write_report
from cotune_bench.reports.published import compare_texts, paper_table
from cotune_bench.reports.status import table_status
from cotune_bench.reports.tables import print_grid, to_csv, to_latex, to_markdown
from cotune_bench.storage.files import check_writable, write_atomically
from cotune_bench.storage.records import RecordStore

NAMED = 6  # cells that a line about missing runs names before it only counts, and runs of a cell
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
        baselines=cells.baseline,
    )
    frame, cut = run_frame(records)
    return build_grid(spec, frame), results, damaged + cut


def missing(grid: Grid, overrides: Sequence[str] = ()) -> str:
    """One line that names the runs which a table still lacks, or nothing; ``overrides`` made the table."""
    cells = [cell for cell in grid.cells if cell.n < cell.expected]
    if not cells:
        return ""
    name, count = grid.spec.name, sum(cell.expected - cell.n for cell in cells)
    named = [_missing_runs(cell, grid.spec) for cell in cells[:NAMED]]
    if (more := len(cells) - NAMED) > 0:
        status = shlex.join(["cotune-bench", "status", f"table={name}", *overrides])
        named.append(f"{plural(more, 'more cell')} ({status})")
    return f"{name}: {count} of {sum(cell.expected for cell in grid.cells)} runs are missing: {', '.join(named)}"


def _missing_runs(cell: Cell, spec: TableSpec) -> str:
    found = [run.unit for run in cell.runs]
    lacking = [unit for unit in spec.units if unit not in found]
    whole = len(lacking) > NAMED and lacking == list(range(lacking[0], lacking[-1] + 1))
    numbers = f"{lacking[0]} to {lacking[-1]}" if whole else "+".join(map(str, lacking))
    return f"{cell.data} {cell.method} rate {cell.rate:g} {spec.unit} {numbers}"


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
    console, parts, damaged, lacking, empty = Console(), [], [], [], []
    for name in names or choices("table"):
        table = load_table(name)
        cells = table_cells(table, overrides)
        grid, results, unread = table_grid(name, overrides, cells)
        damaged += unread
        lacking += filter(None, [missing(grid, overrides)])
        if not grid.runs() and not names:
            console.print(f"{name}: no run yet; cotune-bench run table={name} runs its cells")
            empty.append(name)
            continue
        paper = paper_table(name, table.get("paper"))
        parts.append(Part(grid, paper, table_status(name, overrides, cells), results))
    if not names:
        results = Path(compose_config([text for text in overrides if text.startswith("results=")]).results)
        own, unread = own_tables(results)
        parts += [Part(grid, None, status, results) for grid, status in own]
        damaged = unread + damaged
    for line in dict.fromkeys(damaged) if warn else ():
        print(f"warning: {line}", file=sys.stderr)
    written = [path for part in parts for path in _part_files(part, console)]
    for results in dict.fromkeys(part.results for part in parts):
        written.append(write_report([part for part in parts if part.results == results], empty, results))
    for path in written:
        print(path)
    return written, lacking


def _part_files(part: Part, console: Console) -> list[Path]:
    """Write the files of one table, and print it."""
    grid, name, folder = part.grid, part.grid.spec.name, part.results / "tables"
    for place in (folder, part.results / "figures"):
        check_writable(place)
    columns, whole = part.verdict
    verdict = [*columns, whole]
    texts = {f"{name}.md": to_markdown(grid, verdict), f"{name}.csv": to_csv(grid), f"{name}.tex": to_latex(grid)}
    texts |= {f"{name}.html": table_html(grid, verdict)} | compare_texts(grid, part.paper)
    for file, text in texts.items():
        write_atomically(folder / file, text.encode())
    figures, left_out = part.figures
    if len(columns) > MANY:
        columns = [f"A verdict for each of the {len(columns)} columns: {folder / name}.md"]
    print_grid(grid, console, [*columns, whole])
    for line in left_out:
        console.print(f"Figures: {line}", style="yellow", markup=False)
    return [*(folder / file for file in texts), *write_figures(figures, part.results / "figures")]
