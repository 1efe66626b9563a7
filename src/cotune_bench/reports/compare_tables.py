"""The comparison of a grid with the paper as Markdown and CSV; the same grid always gives the same bytes."""

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import fmean

from cotune_bench.reports.captions import random_weights, setting
from cotune_bench.reports.compare import (
    BASELINE,
    CHALLENGER,
    DRAWS,
    PAPER_SEEDS,
    ROUNDING,
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
from cotune_bench.reports.grid import Cell, Grid, Place
from cotune_bench.reports.tables import aligned, display_name, display_rate, escaped

COLUMNS = (
    *("table", "data", "method", "rate", "paper_mean", "paper_std", "tllib", "mean", "std", "n"),
    *("difference", "stderr", "df", "p", "p_holm", "verdict"),
    *("gain", "gain_low", "gain_high", "gain_p", "gain_pairs"),
)
CELLS = (
    f"Mean ± sample std, top-1 test accuracy in percent. Paper: its std is taken as that of {PAPER_SEEDS} seeds, an "
    "assumption. Difference: ours less the paper's ± standard error from both "
    "spreads; p: two-sided Welch test with df degrees of freedom; p (Holm): corrected over all tested cells of this "
    "table. differs: p (Holm) < 0.05; open: no difference shown, which few seeds seldom can, and no agreement; "
    "not decidable: fewer than two runs, or no spread on either side; random weights: a run was not pre-trained: no "
    "published number is its like, and nothing is tested. TLlib: ResNet-50, one run each, trained on all training "
    "images and read at the epoch that is best on the test images."
)
OFFSETS = (
    "Over all cells of a method with both values: in how many ours is above and below the paper's, and the mean "
    "difference in percentage points. Cells that are open one by one but lie on one side tell that the experiments "
    "differ. No p value: the cells of one data set share their test images."
)
ORDER = (
    "Kendall's tau-b between the paper's and our means of the methods in one column: 1 is the same order, -1 the "
    f"reverse. 95 % interval: percentile bootstrap over the seeds that all methods have, {DRAWS:,} draws, the same "
    "seeds for every method; the paper's means are held fixed. With few seeds it is coarse. Random weights are left "
    "out."
)
GAIN = (
    "Mean difference in percentage points over the seeds that both have, with its 95 % paired t interval and the "
    "two-sided p of the paired t test, not corrected for the number of columns. No published gain stands beside "
    "random weights."
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
        parts += [title, GAIN, _markdown(gain_rows(comparisons, paper))]
    return "\n\n".join(parts) + "\n"


def compare_csv(grid: Grid, paper: str | None) -> str:
    """One line per cell in full precision; the gain is over fine-tune on the same seeds."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in compare(grid, paper):
        cell, test, gain = one.cell, one.difference, one.gain
        low, high = (gain and gain.interval()) or (None, None)
        writer.writerow(
            [
                *(grid.spec.name, cell.data, cell.method, float(cell.rate)),
                *((one.paper.mean, one.paper.std) if one.paper else ("", "")),
                _tllib(cell),
                *((one.ours.mean, one.ours.std, one.ours.n) if one.ours else ("", "", 0)),
                *((test.mean, test.stderr, test.df, test.p) if test else ("", "", "", "")),
                *(one.p_holm, one.verdict, gain and gain.mean, low, high, gain and gain.p, one.pairs),
            ]
        )
    return buffer.getvalue()


def order_csv(columns: Sequence[Order]) -> str:
    """One line per column of the table in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["data", "rate", "methods", "seeds", "tau_b", "low", "high"])
    for one in columns:
        bounds = one.interval or (None, None)
        writer.writerow([one.data, float(one.rate), one.methods, one.seeds, one.tau, *bounds])
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
    head = ["Data set", "Method", "Rate", "Paper", "TLlib", "Ours", "Runs"]
    head += ["Difference", "df", "p value", "p (Holm)", "Verdict"]
    rows = [head]
    for one in comparisons:
        cell, test = one.cell, one.difference
        difference = "–" if test is None else f"{test.mean:+.2f}"
        if test and test.stderr is not None:
            difference += f" ± {test.stderr:.2f}"
        reference = _tllib(cell)
        rows.append(
            [
                *(cell.data, display_name(cell.method), display_rate(cell.rate)),
                *(
                    _sample(one.paper),
                    "–" if reference is None else f"{reference:.1f}",
                    _sample(one.ours),
                    str(cell.n),
                ),
                *(
                    difference,
                    _number(test and test.df, ".1f"),
                    _p(test and test.p),
                    _p(one.p_holm),
                    one.verdict or "–",
                ),
            ]
        )
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
    rows = [["Data set", "Rate", "Methods", "Seeds", "tau-b", "95 % interval"]]
    for one in columns:
        counts = [str(one.methods), str(one.seeds)]
        rows.append([one.data, display_rate(one.rate), *counts, _number(one.tau, ".2f"), _interval(one.interval)])
    return rows


def gain_rows(comparisons: Sequence[Comparison], paper: str | None) -> list[list[str]]:
    """A header and one row for each column of the table, plain text."""
    theirs = published(paper) if paper else {}
    pair = [one.cell for one in comparisons if one.cell.method in (BASELINE, CHALLENGER)]
    random = {(cell.data, cell.rate) for cell in pair if cell.random}
    rows = [["Data set", "Rate", *(["Paper"] if paper else []), "Ours", "95 % interval", "p value", "Seeds"]]
    for one in comparisons:
        cell, gain = one.cell, one.gain
        if cell.method != CHALLENGER:
            continue
        ours = [_number(gain and gain.mean, "+.2f"), _interval(gain and gain.interval()), _p(gain and gain.p)]
        reference = None if (cell.data, cell.rate) in random else _paper_gain(theirs, cell.data, cell.rate)
        shown = [_number(reference, "+.2f")] if paper else []
        rows.append([cell.data, display_rate(cell.rate), *shown, *ours, str(one.pairs)])
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


def _p(value: float | None) -> str:
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"[{bounds[0]:+.2f}, {bounds[1]:+.2f}]"
