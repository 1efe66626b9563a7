"""From the name of a table to its files: which records belong to it, and what is written where."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cotune_bench import config as settings
from cotune_bench.config.tables import Cells, load_table, table_cells
from cotune_bench.reports.figures import write_figures
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import Cell, Grid, TableSpec, build_grid
from cotune_bench.reports.latex import to_latex
from cotune_bench.reports.own_images import own_tables
from cotune_bench.reports.page import Part, table_html, write_report
from cotune_bench.reports.published import paper_table
from cotune_bench.reports.published_tables import compare_texts
from cotune_bench.reports.status import table_status
from cotune_bench.reports.tables import print_grid, write_tables
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
    frame, unlike = run_frame(records)
    return build_grid(spec, frame), results, damaged + unlike


def missing(grid: Grid, overrides: Sequence[str] = ()) -> str:
    """One line that names the runs which a table still lacks, or nothing; ``overrides`` made the table."""
    cells = [cell for cell in grid.cells if cell.n < cell.expected]
    if not cells:
        return ""
    name, count = grid.spec.name, sum(cell.expected - cell.n for cell in cells)
    told = [_lack(cell, grid) for cell in cells[:NAMED]]
    if (more := len(cells) - NAMED) > 0:
        status = shlex.join(["cotune-bench", "status", f"table={name}", *overrides])
        told.append(f"{more} more {'cell' if more == 1 else 'cells'} ({status})")
    return f"{name}: {count} of {sum(cell.expected for cell in grid.cells)} runs are missing: {', '.join(told)}"


def _lack(cell: Cell, grid: Grid) -> str:
    found = [run.unit for run in cell.runs]
    lacking = [unit for unit in grid.spec.units if unit not in found]
    whole = len(lacking) > NAMED and lacking == list(range(lacking[0], lacking[-1] + 1))
    numbers = f"{lacking[0]} to {lacking[-1]}" if whole else "+".join(map(str, lacking))
    return f"{cell.data} {cell.method} rate {cell.rate:g} {grid.spec.unit} {numbers}"


def make_tables(
    names: Sequence[str] = (), overrides: Sequence[str] = (), *, warn: bool = True
) -> tuple[list[Path], list[str]]:
    """Write the tables of these names (by default all, and those of own images) to ``results/tables`` and print them;
    figures to ``figures``, and ``report.html``, a page of all these tables.

    Args:
        names: of tables.
        overrides: as for ``run.py``.
        warn: name the records that cannot be read.

    Returns:
        the files written, and a line for each table that lacks runs.
    """
    console, written, lacking, empty = Console(), [], [], []
    found: list[Part] = []
    own_results = Path(settings.compose_config([text for text in overrides if text.startswith("results=")]).results)
    own, damaged = ([], []) if names else own_tables(own_results)
    for name in names or settings.choices("table"):
        cells = table_cells(load_table(name), overrides)
        grid, results, cut = table_grid(name, overrides, cells)
        damaged += cut
        lacking += [line] if (line := missing(grid, overrides)) else []
        if not grid.runs() and not names:
            console.print(f"{name}: no run yet; cotune-bench run table={name} runs its cells")
            empty.append(name)
            continue
        paper = paper_table(name, load_table(name).get("paper"))
        found.append(Part(grid, paper, table_status(name, overrides, cells), results))
    found += [Part(grid, None, status, own_results) for grid, status in own]
    for line in dict.fromkeys(damaged) if warn else ():
        print(f"warning: {line}", file=sys.stderr)
    for part in found:
        for folder in ("tables", "figures"):
            check_writable(part.results / folder)
        written += _part_files(part, console)
    for results in dict.fromkeys(part.results for part in found):
        written.append(write_report([part for part in found if part.results == results], empty, results))
    for path in written:
        print(path)
    return written, lacking


def _part_files(part: Part, console: Console) -> list[Path]:
    """Write the files of one table, and print it."""
    grid, results, name = part.grid, part.results, part.grid.spec.name
    columns, whole = part.verdict
    written = write_tables(grid, results / "tables", [*columns, whole])
    html = table_html(grid, [*columns, whole])
    written += _write(results / "tables", {f"{name}.tex": to_latex(grid), f"{name}.html": html})
    written += _write(results / "tables", compare_texts(grid, part.paper))
    figures, left_out = part.figures
    written += write_figures(figures, results / "figures")
    if len(columns) > MANY:
        columns = [f"A verdict for each of the {len(columns)} columns: {written[0]}"]
    print_grid(grid, console, [*columns, whole])
    for line in left_out:
        console.print(f"Figures: {line}", style="yellow", markup=False)
    return written


def _write(folder: Path, texts: dict[str, str]) -> list[Path]:
    paths = [folder / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_atomically(path, text.encode())
    return paths
