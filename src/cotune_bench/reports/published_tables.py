"""The comparison of a grid with the paper as Markdown and CSV; the same grid always gives the same bytes."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from cotune_bench.reports.captions import random_weights, setting
from cotune_bench.reports.grid import Cell, Grid, Place
from cotune_bench.reports.published import (
    BASELINE,
    CHALLENGER,
    PAPER_SEEDS,
    Comparison,
    Order,
    Sample,
    compare,
    offsets,
    orders,
    published,
    published_backbone,
    tllib,
)
from cotune_bench.reports.statistics import ROUNDING
from cotune_bench.reports.tables import aligned, display_name, display_rate, escaped

COLUMNS = (
    *("table", "data", "method", "rate", "paper_mean", "paper_std", "tllib", "mean", "std", "n"),
    *("difference", "random", "gain", "gain_low", "gain_high", "gain_units"),
)
CELLS = (
    f"Mean ± sample std, top-1 test accuracy in percent; the paper's std is taken as that of {PAPER_SEEDS} seeds, an "
    "assumption. Difference: ours less the paper's in percentage points, as description: a spread of training seeds "
    "contains neither split nor sample, so nothing is tested. Random weights are not compared. TLlib: ResNet-50, one "
    "run each, trained on all training images and read at the epoch that is best on the test images."
)
OFFSETS = (
    "Over all cells of a method with both values: in how many ours is above and below the paper's, and the mean "
    "difference in percentage points. Differences that lie on one side suggest that the experiments differ."
)
ORDER = (
    "Kendall's tau-b between the paper's and our means of the methods in one column: 1 is the same order, -1 the "
    "reverse; a description, without the error of the means. Random weights are left out."
)
SEED_GAIN = (
    "Mean difference in percentage points over the training seeds that both have; no interval, because these seeds "
    "share one split. No published gain stands beside random weights."
)
GAIN = (
    "Mean difference in percentage points over the replicates that all methods of the column have, with the 95 % "
    "interval of the verdict, simultaneous over all pairs of methods. No published gain stands beside random weights."
)


def compare_markdown(grid: Grid, paper: str | None) -> str:
    """Cell by cell beside the paper and the order of methods, if it was published, and the gain of Co-Tuning."""
    comparisons = compare(grid, paper)
    parts = [f"# {escaped(grid.spec.title)}: " + ("the paper beside ours" if paper else "gain")]
    if paper:
        parts += [CELLS, escaped(backbones(grid, paper)), _markdown(cell_rows(comparisons))]
        if found := offsets(comparisons):
            parts += ["## Difference by method", OFFSETS, aligned(offset_rows(found), names=1)]
        columns = orders(grid, paper)
        if columns:
            parts += ["## Order of the methods", ORDER, _markdown(order_rows(columns))]
    if {BASELINE, CHALLENGER} <= set(grid.spec.methods):
        title = f"## Gain of {display_name(CHALLENGER)} over {display_name(BASELINE)}"
        parts += [title, gain_text(grid), _markdown(gain_rows(comparisons, paper))]
    return "\n\n".join(parts) + "\n"


def gain_text(grid: Grid) -> str:
    """What the gains of a table are."""
    return GAIN if grid.spec.unit == "replicate" else SEED_GAIN


def compare_csv(grid: Grid, paper: str | None) -> str:
    """One line per cell in full precision; ``random`` counts its runs with random weights."""
    rows = []
    for one in compare(grid, paper):
        cell, gain = one.cell, one.gain
        low, high = (gain and gain.interval()) or (None, None)
        rows.append(
            [
                *(grid.spec.name, cell.data, cell.method, float(cell.rate)),
                *((one.paper.mean, one.paper.std) if one.paper else ("", "")),
                _tllib(cell),
                *((one.ours.mean, one.ours.std, one.ours.n) if one.ours else ("", "", 0)),
                *(one.difference, cell.random, gain and gain.mean, low, high, gain.units if gain else 0),
            ]
        )
    return _csv(COLUMNS, rows)


def order_csv(columns: Sequence[Order]) -> str:
    """One line per column of the table in full precision."""
    rows = [[one.data, float(one.rate), one.methods, one.tau] for one in columns]
    return _csv(("data", "rate", "methods", "tau_b"), rows)


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([head, *rows])
    return buffer.getvalue()


def compare_texts(grid: Grid, paper: str | None) -> dict[str, str]:
    """Every file of the comparison by its name."""
    name = f"{grid.spec.name}-compare"
    texts = {f"{name}.md": compare_markdown(grid, paper), f"{name}.csv": compare_csv(grid, paper)}
    return texts | ({f"{grid.spec.name}-order.csv": order_csv(orders(grid, paper))} if paper else {})


def backbones(grid: Grid, paper: str) -> str:
    """Our setting and the paper's backbone, and a warning where they differ."""
    theirs = published_backbone(paper)
    other = [data for data in grid.spec.data if grid.names("backbone", data) not in ((), (theirs,))]
    warning = f" Another backbone than the paper's in {', '.join(other)}: not the same experiment." if other else ""
    other = [data for data in grid.spec.data if grid.names("protocol", data) not in ((), ("paper",))]
    warning += f" Another protocol than paper in {', '.join(other)}: not the same experiment." if other else ""
    random = [random_weights(grid, data) for data in grid.spec.data]
    told = f"{setting(grid)} Backbone of the paper: {theirs}, pre-trained.{warning}"
    return " ".join([told, *(line for line in random if line)])


def _markdown(rows: list[list[str]]) -> str:
    return aligned([[*map(escaped, row[:2]), *row[2:]] for row in rows])  # the rest holds no names


def cell_rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """A header and one row for each cell, plain text."""
    rows = [["Data set", "Method", "Rate", "Paper", "TLlib", "Ours", "Runs", "Difference"]]
    for one in comparisons:
        cell = one.cell
        difference = "random weights" if cell.random else _number(one.difference, "+.2f")
        values = [_sample(one.paper), _number(_tllib(cell), ".1f"), _sample(one.ours), str(cell.n), difference]
        rows.append([cell.data, display_name(cell.method), display_rate(cell.rate), *values])
    return rows


def offset_rows(found: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """A header and one row for each method, plain text."""
    rows = [["Method", "Cells", "Above", "Below", "Mean difference"]]
    for method, values in found.items():
        counts = len(values), sum(value > ROUNDING for value in values), sum(value < -ROUNDING for value in values)
        rows.append([display_name(method), *map(str, counts), f"{fmean(values):+.2f}"])
    return rows


def order_rows(columns: Sequence[Order]) -> list[list[str]]:
    """A header and one row for each column of the table, plain text."""
    rows = [["Data set", "Rate", "Methods", "tau-b"]]
    for one in columns:
        rows.append([one.data, display_rate(one.rate), str(one.methods), _number(one.tau, ".2f")])
    return rows


def gain_rows(comparisons: Sequence[Comparison], paper: str | None) -> list[list[str]]:
    """A header and one row for each column of the table, plain text; intervals where there are any."""
    theirs = published(paper) if paper else {}
    pair = [one.cell for one in comparisons if one.cell.method in (BASELINE, CHALLENGER)]
    random = {(cell.data, cell.rate) for cell in pair if cell.random}
    gains = [one for one in comparisons if one.cell.method == CHALLENGER]
    tested = any(one.gain and one.gain.interval() for one in gains)
    rows = [
        ["Data set", "Rate", *["Paper"] * bool(paper), "Ours", *["95 % interval"] * tested, "Pairs"],
    ]
    for one in gains:
        cell, gain = one.cell, one.gain
        reference = None if (cell.data, cell.rate) in random else _paper_gain(theirs, cell.data, cell.rate)
        shown = [_number(reference, "+.2f")] * bool(paper) + [_number(gain and gain.mean, "+.2f")]
        shown += [_interval(gain and gain.interval())] * tested
        rows.append([cell.data, display_rate(cell.rate), *shown, str(gain.units if gain else 0)])
    return rows


def _paper_gain(theirs: dict[Place, Sample], data: str, rate: float) -> float | None:
    pair = [theirs.get((data, method, rate)) for method in (CHALLENGER, BASELINE)]
    return pair[0].mean - pair[1].mean if pair[0] and pair[1] else None


def _sample(sample: Sample | None) -> str:
    if sample is None:
        return "–"
    return f"{sample.mean:.2f}" + ("" if sample.std is None else f" ± {sample.std:.2f}")


def _tllib(cell: Cell) -> float | None:
    return tllib().get((cell.data, cell.method, cell.rate))


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _interval(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"[{bounds[0]:+.2f}, {bounds[1]:+.2f}]"
