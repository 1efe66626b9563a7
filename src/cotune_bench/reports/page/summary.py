"""A table in plain words: what was run, what is best, and what is missing."""

from statistics import fmean

from cotune_bench.reports.captions import listed, plural
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.published import compare, offsets
from cotune_bench.reports.ranks import gain_sentence
from cotune_bench.reports.status import TableStatus
from cotune_bench.reports.tables import display_name, display_rate
from cotune_bench.reports.verdict import table_sentence


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
    cells = compare(grid, paper)
    found, random = offsets(cells), sum(one["paper_mean"] is not None and one["random"] > 0 for one in cells)
    aside = f" {plural(random, 'cell')} with random weights cannot be compared." if random else ""
    if not found:
        return "No cell has both values yet." + aside
    means = ", ".join(f"{display_name(method)} {fmean(values):+.2f}" for method, values in found.items())
    count = sum(map(len, found.values()))
    return f"Mean difference over {plural(count, 'cell')} with both values: {means} points.{aside}"


def _missing(count: int, grid: Grid, status: TableStatus) -> str:
    if not count:
        return "Nothing: every cell has all its runs."
    failed = sum(cell.state == "failed" for cell in status.cells)
    cells = sum(cell.n < cell.expected for cell in grid.cells)
    end = f"; {failed} of them failed." if failed else "."
    return f"{plural(count, 'run')}, in {plural(cells, 'cell')}{end}"
