"""Tables as HTML: each alone, and a page of them all without scripts; the same runs always give the same bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cotune_bench.errors import count
from cotune_bench.reports.captions import caption, listed, warnings
from cotune_bench.reports.costs import cost_listings
from cotune_bench.reports.figures import NamedFigure, grid_figures, inline_svg
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.page.cells import anchor, cell_views
from cotune_bench.reports.published import compare, listings, offsets
from cotune_bench.reports.ranks import gain_sentence
from cotune_bench.reports.status import TableStatus
from cotune_bench.reports.tables import cell_text, display_name, display_rate
from cotune_bench.reports.verdict import table_sentence, verdicts
from cotune_bench.storage.records import RecordStore

HERE = Path(__file__).parent

Rows = Sequence[Sequence[str]]  # of a plain table, the first is its header


@dataclass(frozen=True)
class Part:
    """One table of the report: its grid, the published table beside it, the states of its runs, and their folder."""

    grid: Grid
    paper: str | None
    status: TableStatus
    results: Path

    @cached_property
    def figures(self) -> tuple[list[NamedFigure], list[str]]:
        """The grid's figures, drawn once for files and page, and a sentence for each kind that is missing."""
        return grid_figures(self.grid, self.results)

    @cached_property
    def verdict(self) -> tuple[list[str], str]:
        """A sentence for each column, and the one of the whole table."""
        return [one.sentence for one in verdicts(self.grid)], table_sentence(self.grid)


def report_html(parts: Sequence[Part], empty: Sequence[str]) -> str:
    """One page that needs no other file: summary, grids, runs behind every cell, comparisons and figures.

    ``empty`` names the tables without a run.
    """
    tables = [
        {
            "grid": part.grid,
            "verdict": part.verdict[0],  # that of the whole table is in the summary
            "sentences": sentences(part.grid, part.paper, part.status),
            "cells": cell_views(part.grid, part.status, RecordStore(part.results)),
            "listings": listings(part.grid, part.paper) + cost_listings(part.grid),
            "figures": [(one, inline_svg(one)) for one in part.figures[0]],
            "left_out": part.figures[1],
        }
        for part in parts
    ]
    return TEMPLATES.get_template("report.html").render(empty=empty, tables=tables)


def sentences(grid: Grid, paper: str | None, status: TableStatus) -> list[tuple[str, str]]:
    """Questions and their answers."""
    spec = grid.spec
    runs, asked = sum(cell.n for cell in grid.cells), sum(cell.expected for cell in grid.cells)
    units = f"{spec.unit}{'s' if len(spec.units) > 1 else ''} {listed([str(unit) for unit in spec.units])}"
    answers = {
        "What was run": f"{runs} of {asked} runs: {listed([display_name(method) for method in spec.rows])} on "
        f"{listed(spec.data)}, at {listed([display_rate(rate) for rate in spec.rates])} of the training images, "
        f"{units}.",
        "What is best": table_sentence(grid),
        "Across data sets": gain_sentence(grid),
        "Published numbers": _published(grid, paper) if paper else "",
        "What is missing": _missing(asked - runs, grid, status),
    }
    return [(question, answer) for question, answer in answers.items() if answer]


def _published(grid: Grid, paper: str) -> str:
    rows = compare(grid, paper)
    found, random = offsets(rows), sum(one["paper_mean"] is not None and one["random"] > 0 for one in rows)
    aside = f" {count(random, 'cell')} with random weights cannot be compared." if random else ""
    if not found:
        return "No cell has both values yet." + aside
    means = ", ".join(f"{display_name(method)} {fmean(values):+.2f}" for method, values in found.items())
    cells = count(sum(map(len, found.values())), "cell")
    return f"Mean difference over {cells} with both values: {means} points.{aside}"


def _missing(runs: int, grid: Grid, status: TableStatus) -> str:
    if not runs:
        return "Nothing: every cell has all its runs."
    failed = sum(cell.state == "failed" for cell in status.cells)
    cells = sum(cell.n < cell.expected for cell in grid.cells)
    end = f"; {failed} of them failed." if failed else "."
    return f"{count(runs, 'run')}, in {count(cells, 'cell')}{end}"


def table_html(grid: Grid, verdict: Sequence[str] = ()) -> str:
    """The table alone, with the sentences of its verdict, its caption and warnings, as a page of its own."""
    return TEMPLATES.get_template("table.html").render(grid=grid, verdict=verdict)


def text_columns(rows: Rows) -> set[int]:
    """Places of the columns that hold words, which are set flush left."""
    return {place for place, column in enumerate(zip(*rows[1:], strict=True)) if any(t[:1].isalpha() for t in column)}


TEMPLATES = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
FUNCTIONS = (anchor, caption, cell_text, display_name, display_rate, text_columns, warnings)
TEMPLATES.globals |= {one.__name__: one for one in FUNCTIONS}
TEMPLATES.globals["style"] = (HERE / "report.css").read_text(encoding="utf-8")
