"""A grid as Markdown, CSV and terminal output; the same grid always gives the same bytes."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cotune_bench.reports.captions import caption, warnings
from cotune_bench.reports.grid import DECIMALS, Cell, Grid
from cotune_bench.storage.files import write_atomically

#: As rich's SIMPLE_HEAD, with a rule between sections, too.
RULED = box.Box("    \n    \n ── \n    \n ── \n    \n    \n    \n")

METHOD_NAMES = {
    "finetune": "Fine-tune",
    "l2sp": "L2-SP",
    "delta": "DELTA",
    "bss": "BSS",
    "cotuning": "Co-Tuning",
    "random_start": "Random start",
    "linear_probe": "Linear probe",
    "svm": "SVM on pixels",
    "stochnorm": "StochNorm",
    "lwf": "LWF",
    "bituning": "Bi-Tuning",
    "spottune": "SpotTune",
    "zootuning": "Zoo-Tuning",
    "lite_zootuning": "Lite Zoo-Tuning",
    "knowledge_flow": "Knowledge Flow",
    "ensemble": "Ensemble",
    "distill": "Distillation",
}


def display_name(method: str) -> str:
    """A method's name as papers write it; unknown ones as they are."""
    return METHOD_NAMES.get(method, method)


def display_rate(rate: float) -> str:
    """A sampling rate in percent, such as "15 %"."""
    return f"{100 * rate:g} %"


def cell_text(cell: Cell, best: str = "**{}**") -> str:
    """Mean ± spread in percent, put into ``best`` if it is, then "(found/expected)" if runs are missing."""
    text = "–" if cell.mean is None else f"{cell.mean:.{DECIMALS}f}"
    if cell.spread is not None:
        text += f" ± {cell.spread:.{DECIMALS}f}"
    if cell.best:
        text = best.format(text)
    return text if cell.n == cell.expected else f"{text} ({cell.n}/{cell.expected})"


def to_markdown(grid: Grid, verdict: Sequence[str] = ()) -> str:
    """The table as GitHub Markdown whose columns also line up in the raw text; sentences of the verdict below it."""
    rows = [["Data set", "Method", *map(display_rate, grid.spec.rates)]]
    for data in grid.spec.data:
        for method in grid.spec.rows:
            block = data if method == grid.spec.rows[0] else ""
            name = escaped(display_name(method))
            names = [escaped(block), f"*{name}*" if method in grid.spec.baselines else name]
            rows.append([*names, *(cell_text(cell) for cell in grid.row(data, method))])
    told = escaped(caption(grid, below="in italics"))
    parts = [f"# {escaped(grid.spec.title)}", told, aligned(rows), *map(escaped, verdict)]
    if told := warnings(grid):
        parts.append("\n".join(["Warnings:", "", *(f"- {escaped(line)}" for line in told)]))
    return "\n\n".join(parts) + "\n"


def aligned(rows: list[list[str]], names: int = 2) -> str:
    """Rows, the first a header, as a Markdown table whose columns line up; the first ``names`` are flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * width if i < names else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [
        " | ".join(
            text.ljust(width) if i < names else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (rows[0], rule, *rows[1:])
    ]
    return "\n".join(f"| {line} |" for line in lines)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\|*`<])", r"\\\1", " ".join(text.split()))


def to_csv(grid: Grid) -> str:
    """One line per cell in full precision; ``unit`` is what its spread is over.

    The spread's column is ``standard_error`` if it is a standard error.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    column = "standard_error" if grid.spec.std == "standard_error" else "std"
    writer.writerow(["table", "data", "method", "rate", "unit", "n", "expected", "mean", column, "best"])
    for cell in grid.cells:
        place = [grid.spec.name, cell.data, cell.method, float(cell.rate), grid.spec.unit]
        writer.writerow([*place, cell.n, cell.expected, cell.mean, cell.spread, str(cell.best).lower()])
    return buffer.getvalue()


def write_tables(grid: Grid, folder: Path, verdict: Sequence[str] = ()) -> list[Path]:
    """Write ``<table>.md`` and ``<table>.csv`` into ``folder``, each whole or not at all; their paths."""
    texts = {"md": to_markdown(grid, verdict), "csv": to_csv(grid)}
    paths = [Path(folder) / f"{grid.spec.name}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_atomically(path, text.encode())
    return paths


def print_grid(grid: Grid, console: Console, verdict: Sequence[str] = ()) -> None:
    """Show the table within 100 columns and the verdict below; without bold, as in a pipe, a star marks the best."""
    star = console.color_system is None  # rich then drops bold as well
    table = Table(box=RULED, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Method")
    for rate in grid.spec.rates:
        table.add_column(display_rate(rate), justify="right")
    for data in grid.spec.data:
        if data != grid.spec.data[0]:
            table.add_row()
        table.add_row(Text(data, style="italic"))
        for method in grid.spec.rows:
            if method in grid.spec.baselines[:1]:
                table.add_section()
            cells = grid.row(data, method)
            texts = [Text(cell_text(cell, "*{}" if star else "{}"), _style(cell)) for cell in cells]
            table.add_row(Text(f"  {display_name(method)}"), *texts)
    console.print(Text(grid.spec.title, style="bold"))
    console.print(Text(caption(grid, best="marked *" if star else "bold")))
    console.print(table)
    for line in warnings(grid):
        console.print(Text(f"Warning: {line}", style="yellow"))
    for line in verdict:
        console.print(Text(line))


def _style(cell: Cell) -> str:
    if cell.best:
        return "bold green"
    return "" if cell.n == cell.expected else "dim"
