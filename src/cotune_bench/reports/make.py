"""From the name of a table to its files: which records belong to it, and what is written where."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cotune_bench import config as settings
from cotune_bench.files import write_atomically
from cotune_bench.records import Record, RecordStore, check_writable, to_frame
from cotune_bench.reports.captions import split_text
from cotune_bench.reports.compare import paper_table
from cotune_bench.reports.compare_tables import compare_texts
from cotune_bench.reports.figures import write_figures
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.latex import to_latex
from cotune_bench.reports.tables import print_grid, write_tables

if TYPE_CHECKING:
    import pandas as pd


def table_grid(name: str, overrides: Sequence[str] = ()) -> tuple[Grid, Path, list[str]]:
    """A table's grid, its results folder, and a line for each damaged record.

    A record belongs to a cell only if all of its configuration is the cell's; a run with another trade-off or
    protocol is another experiment. Overrides apply as they do to ``run.py table=NAME``.
    """
    table = settings.load_table(name)
    cells = settings.table_cells(table, overrides)
    results = Path(cells.results)
    records, damaged = RecordStore(results).read(cells.keys)
    spec = TableSpec(
        name=name,
        title=table["title"],
        data=cells.data,
        methods=cells.method,
        rates=cells.rate,
        seeds=cells.seed,
        std=table["std"],
    )
    return build_grid(spec, run_frame(records)), results, damaged


def run_frame(records: Sequence[Record]) -> "pd.DataFrame":
    """The rows of results.csv, with the split and, where recorded, the precision of every run."""
    precisions = [
        record.config["protocol"].get("precision", record.environment.get("precision")) for record in records
    ]
    return to_frame(records).assign(split=[split_text(record.config) for record in records], precision=precisions)


def make_tables(names: Sequence[str] = (), overrides: Sequence[str] = (), *, warn: bool = True) -> list[Path]:
    """Write the tables of these names (all by default) to ``results/tables`` and print them; curves to ``figures``.

    ``warn`` names the records that cannot be read.
    """
    console, written = Console(), []
    for name in names or settings.choices("table"):
        grid, results, damaged = table_grid(name, overrides)
        for line in damaged if warn else ():
            print(f"warning: {line}", file=sys.stderr)
        found = sum(cell.n for cell in grid.cells)
        if not found and not names:
            console.print(f"{name}: no run yet; python run.py table={name} runs its cells")
            continue
        check_writable(results / "tables")
        written += write_tables(grid, results / "tables")
        paper = paper_table(name, settings.load_table(name).get("paper"))
        written += _write(results / "tables", {f"{name}.tex": to_latex(grid), **compare_texts(grid, paper)})
        check_writable(results / "figures")
        paths, left_out = write_figures(grid, results, results / "figures")
        written += paths
        print_grid(grid, console)
        for line in left_out:
            console.print(f"Figures: {line}", style="yellow", markup=False)
    for path in written:
        print(path)
    return written


def _write(folder: Path, texts: dict[str, str]) -> list[Path]:
    paths = [folder / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_atomically(path, text.encode())
    return paths
