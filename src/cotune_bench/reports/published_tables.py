"""The comparison of a grid with the paper as Markdown, CSV and rows; the same grid always gives the same bytes."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import pandas as pd

from cotune_bench.reports.captions import random_weights, setting
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.published import (
    BASELINE,
    CHALLENGER,
    PAPER_SEEDS,
    Comparison,
    Order,
    compare,
    offsets,
    orders,
    published,
    published_backbone,
)
from cotune_bench.reports.statistics import ROUNDING
from cotune_bench.reports.tables import aligned, display_name, display_rate, escaped

BESIDE = "Beside the published numbers"
CELLS = (
    f"Mean ± sample std, top-1 test accuracy in percent; the paper's std is taken as that of {PAPER_SEEDS} seeds, an "
    "assumption. Difference: ours less the paper's in percentage points, as description: a spread of training seeds "
    "contains neither split nor sample, so nothing is tested. Random weights are not compared. TLlib: ResNet-50, one "
    "run each, trained on all training images and read at the epoch that is best on the test images."
)
OFFSETS = (
    "Over all cells of a method with both values: in how many ours is above and below the paper's, and the mean "
    "difference in percentage points. Differences on one side throughout suggest that the experiments differ."
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


def listings(grid: Grid, paper: str | None) -> list[tuple[str, list[list[str]], list[str]]]:
    """Title, rows and notes of each table that compares: with the paper, if it was published, and the gain."""
    comparisons, found = compare(grid, paper), []
    if paper:
        found.append((BESIDE, cell_rows(comparisons), [CELLS, backbones(grid, paper)]))
        if means := offsets(comparisons):
            found.append(("Difference by method", offset_rows(means), [OFFSETS]))
        if columns := orders(grid, paper):
            found.append(("Order of the methods", order_rows(columns), [ORDER]))
    if {BASELINE, CHALLENGER} <= set(grid.spec.methods):
        title = f"Gain of {display_name(CHALLENGER)} over {display_name(BASELINE)}"
        found.append((title, gain_rows(comparisons, paper), [GAIN if grid.spec.unit == "replicate" else SEED_GAIN]))
    return found


def compare_markdown(grid: Grid, paper: str | None) -> str:
    """All tables that compare as Markdown."""
    parts = [f"# {escaped(grid.spec.title)}: " + ("the paper beside ours" if paper else "gain")]
    for title, rows, notes in listings(grid, paper):
        parts += [f"## {title}"] * (title != BESIDE) + [escaped(note) for note in notes]
        parts.append(aligned([list(map(escaped, row)) for row in rows], names=2 if rows[0][0] == "Data set" else 1))
    return "\n\n".join(parts) + "\n"


def compare_texts(grid: Grid, paper: str | None) -> dict[str, str]:
    """Every file of the comparison by its name.

    CSV is in full precision; its ``random`` counts runs with random weights.
    """
    cells = []
    for one in compare(grid, paper):
        cell, gain = one.cell, one.gain
        cells.append(
            {
                "table": grid.spec.name,
                "data": cell.data,
                "method": cell.method,
                "rate": float(cell.rate),
                **dict(zip(("paper_mean", "paper_std"), one.paper or (None, None), strict=True)),
                "tllib": one.tllib,
                "mean": cell.mean,
                "std": one.std,
                "n": cell.n,
                "difference": one.difference,
                "random": cell.random,
                "gain": gain and gain.mean,
                **dict(zip(("gain_low", "gain_high"), (gain and gain.interval) or (None, None), strict=True)),
                "gain_units": gain.units if gain else 0,
            }
        )
    name = f"{grid.spec.name}-compare"
    texts = {f"{name}.md": compare_markdown(grid, paper), f"{name}.csv": _csv(cells)}
    if paper:
        columns = [(one.data, float(one.rate), one.methods, one.tau) for one in orders(grid, paper)]
        texts[f"{grid.spec.name}-order.csv"] = _csv(columns, ["data", "rate", "methods", "tau_b"])
    return texts


def _csv(rows: Sequence, columns: Sequence[str] | None = None) -> str:
    return pd.DataFrame(rows, columns=columns).to_csv(index=False, lineterminator="\n")  # pyright: ignore


def backbones(grid: Grid, paper: str) -> str:
    """Our setting and the paper's backbone, and a warning where they differ."""
    theirs = published_backbone(paper)
    sentences = [setting(grid), f"Backbone of the paper: {theirs}, pre-trained."]
    for field, usual, what in (
        ("backbone", theirs, "backbone than the paper's"),
        ("protocol", "paper", "protocol than paper"),
    ):
        if other := [data for data in grid.spec.data if grid.names(field, data) not in ((), (usual,))]:
            sentences.append(f"Another {what} in {', '.join(other)}: not the same experiment.")
    sentences += (random_weights(grid, data) for data in grid.spec.data)
    return " ".join(filter(None, sentences))


def cell_rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """A header and one row for each cell, plain text."""
    rows = [["Data set", "Method", "Rate", "Paper", "TLlib", "Ours", "Runs", "Difference"]]
    for one in comparisons:
        cell = one.cell
        difference = "random weights" if cell.random else _number(one.difference, "+.2f")
        values = [_sample(*one.paper or (None, None)), _number(one.tllib, ".1f"), _sample(cell.mean, one.std)]
        names = [cell.data, display_name(cell.method), display_rate(cell.rate)]
        rows.append([*names, *values, str(cell.n), difference])
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
    rows = [[one.data, display_rate(one.rate), str(one.methods), _number(one.tau, ".2f")] for one in columns]
    return [["Data set", "Rate", "Methods", "tau-b"], *rows]


def gain_rows(comparisons: Sequence[Comparison], paper: str | None) -> list[list[str]]:
    """A header and one row for each column of the table, plain text; intervals where there are any."""
    theirs = published(paper) if paper else {}
    pair = [one.cell for one in comparisons if one.cell.method in (BASELINE, CHALLENGER)]
    random = {(cell.data, cell.rate) for cell in pair if cell.random}
    gains = [one for one in comparisons if one.cell.method == CHALLENGER]
    tested = any(one.gain and one.gain.interval for one in gains)
    rows = [["Data set", "Rate", *["Paper"] * bool(paper), "Ours", *["95 % interval"] * tested, "Pairs"]]
    for one in gains:
        cell, gain = one.cell, one.gain
        tuned, plain = (theirs.get((cell.data, method, cell.rate)) for method in (CHALLENGER, BASELINE))
        known = None
        if tuned and plain and (cell.data, cell.rate) not in random:
            known = tuned[0] - plain[0]
        row = [cell.data, display_rate(cell.rate)]
        row += [_number(known, "+.2f")] * bool(paper)
        row += [_number(gain and gain.mean, "+.2f")]
        row += ["[{:+.2f}, {:+.2f}]".format(*gain.interval) if gain and gain.interval else "–"] * tested
        rows.append([*row, str(gain.units if gain else 0)])
    return rows


def _sample(mean: float | None, std: float | None) -> str:
    return _number(mean, ".2f") + ("" if std is None else f" ± {std:.2f}")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
