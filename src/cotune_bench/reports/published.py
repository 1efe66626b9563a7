"""The paper and TLlib beside ours, as description: one row per cell, as CSV, Markdown and rows of the page."""

import math
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from scipy import stats

from cotune_bench.errors import UserError
from cotune_bench.reports.captions import random_weights, setting
from cotune_bench.reports.columns import find_column
from cotune_bench.reports.grid import Grid, Place, spread
from cotune_bench.reports.statistics import ROUNDING, compare_all
from cotune_bench.reports.tables import aligned, display_name, display_rate, exact_csv, mean_text
from cotune_bench.storage.escape import markdown

PAPER = Path(__file__).parents[1] / "paper"
PAPER_SEEDS = 3  # behind the paper's std: an assumption
BASELINE, CHALLENGER = "finetune", "cotuning"
Rows = list[dict[str, Any]]
#: Title, rows of plain text, of which the first is a header, and notes of a table.
Listing = tuple[str, list[list[str]], list[str]]

BESIDE = "Beside the published numbers"
CELLS = (
    "Mean ± sample std, top-1 test accuracy in percent; {theirs} Difference: ours less the paper's in percentage "
    "points, as description: {reason}, so nothing is tested. Random weights are not compared. TLlib: ResNet-50, one "
    "run each, trained on all training images and read at the epoch that is best on the test images."
)
WITH_STD = {
    "theirs": f"the paper's std is taken as that of {PAPER_SEEDS} seeds, an assumption.",
    "reason": "a spread of training seeds contains neither split nor sample",
}
WITHOUT_STD = {
    "theirs": "the paper's values were published without a spread and without the number of runs.",
    "reason": "how far another run of theirs would be is not known",
}
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


@cache
def _tables() -> pd.DataFrame:
    """Every cell of the published tables, by data, method and rate."""
    frames = [pd.read_csv(PAPER / f"{name}.csv") for name in ("cotuning", "spottune", "zootuning")]
    return pd.concat(frames).set_index(["data", "method", "rate"])


@cache
def published(table: str) -> dict[Place, tuple[float, float | None]]:
    """The paper's (mean, std) of a published table by (data, row, rate); empty for other names.

    Not every table has a std.
    """
    rows = _tables().query("table == @table")
    return {
        place: (mean, None if math.isnan(std) else std)
        for place, mean, std in rows[["mean", "std"]].itertuples(name=None)
    }


@cache
def tllib() -> dict[Place, float]:
    """TLlib's accuracies with supervised pre-training by (data, method, rate), one run each."""
    rows = pd.read_csv(PAPER / "tllib_benchmark.csv").query("pretraining == 'imagenet_supervised'")
    return rows.set_index(["data", "method", "rate"])["top1"].to_dict()  # pyright: ignore[reportReturnType]


def paper_table(name: str, chosen: str | None) -> str | None:
    """Which published table to compare with: the chosen one, else that of the same name, else None.

    Raises:
        UserError: the chosen one was not published.
    """
    if chosen is not None and not published(chosen):
        known = ", ".join(sorted(_tables()["table"].unique()))
        raise UserError(f"table {name}: paper={chosen} is unknown: choose {known}, or leave it out")
    return chosen or (name if published(name) else None)


def compare(grid: Grid, paper: str | None) -> Rows:
    """Every cell of a grid beside the published table, if there is one; None for a number that is missing.

    ``paper_mean``, ``paper_std`` and ``tllib`` were published; ``mean`` and sample ``std`` are those of our ``n``
    runs, of which ``random`` have random weights: there is no ``difference`` then, as nobody published such a number.
    ``gain`` is the mean difference to fine-tune in points over the ``gain_units`` that both have. With replicates it
    is over those that all methods of the column have, and the verdict's interval is ``gain_low`` to ``gain_high``.
    """
    theirs, gains, rows = published(paper) if paper else {}, _gains(grid), []
    for cell in grid.cells:
        place = cell.data, cell.method, cell.rate
        mean, std = theirs.get(place, (None, None))
        gain, low, high, units = gains.get(place, (None, None, None, 0))
        rows.append(
            {
                "table": grid.spec.name,
                "data": cell.data,
                "method": cell.method,
                "rate": float(cell.rate),
                "paper_mean": mean,
                "paper_std": std,
                "tllib": tllib().get(place),
                "mean": cell.mean,
                "std": spread((run.accuracy for run in cell.runs), "sample"),
                "n": cell.n,
                "difference": None if mean is None or cell.mean is None or cell.random else cell.mean - mean,
                "random": cell.random,
                "gain": gain,
                "gain_low": low,
                "gain_high": high,
                "gain_units": units,
            }
        )
    return rows


def _gains(grid: Grid) -> dict[Place, tuple[float, float | None, float | None, int]]:
    """Gain over fine-tune of every other cell that shares a unit with it, interval if there is one, units."""
    found = {}
    for data, rate in product(grid.spec.data, grid.spec.rates) if BASELINE in grid.spec.rows else ():
        baseline = dict(grid.cell(data, BASELINE, rate).values)
        for method in grid.spec.rows:
            values = grid.cell(data, method, rate).values
            gains = [accuracy - baseline[unit] for unit, accuracy in values if unit in baseline]
            if gains and method != BASELINE:
                found[data, method, rate] = fmean(gains), None, None, len(gains)
        column = find_column(grid, data, rate)
        if grid.spec.unit == "replicate" and len(column.units) > 1 and BASELINE in column.methods:
            pairs = [one.over(BASELINE) for one in compare_all(column.column) if BASELINE in (one.first, one.second)]
            for pair in pairs:
                interval = (pair.low, pair.high) if pair.stderr else (None, None)
                found[data, pair.first, rate] = pair.difference, *interval, len(column.units)
    return found


def offsets(cells: Rows) -> dict[str, list[float]]:
    """Ours less the paper's in points, for each method in all cells with both values; no method without any."""
    found: dict[str, list[float]] = {}
    for one in cells:
        if one["difference"] is not None:
            found.setdefault(one["method"], []).append(one["difference"])
    return found


def orders(grid: Grid, cells: Rows) -> Rows:
    """Kendall's tau-b between the paper's order of methods and ours, ``tau_b``, in each column with two or more.

    None if one side is all tied. Cells with random weights and baselines are left out.
    """
    both, found = [one for one in cells if one["difference"] is not None and one["method"] in grid.spec.methods], []
    for data, rate in product(grid.spec.data, grid.spec.rates):
        pairs = [(one["paper_mean"], one["mean"]) for one in both if (one["data"], one["rate"]) == (data, rate)]
        if len(pairs) > 1:
            tau = float(stats.kendalltau(*zip(*pairs, strict=True))[0])  # pyright: ignore[reportArgumentType]
            row = {"data": data, "rate": float(rate), "methods": len(pairs)}
            found.append({**row, "tau_b": None if math.isnan(tau) else tau})
    return found


# What is written and shown ------------------------------------------------------------------------------------------


def compare_texts(grid: Grid, paper: str | None) -> dict[str, str]:
    """Every file of the comparison by its name; CSV is in full precision."""
    name, cells = f"{grid.spec.name}-compare", compare(grid, paper)
    texts = {f"{name}.md": compare_markdown(grid, paper), f"{name}.csv": exact_csv(pd.DataFrame(cells))}
    if paper:
        columns = pd.Index(["data", "rate", "methods", "tau_b"])
        texts[f"{grid.spec.name}-order.csv"] = exact_csv(pd.DataFrame(orders(grid, cells), columns=columns))
    return texts


def compare_markdown(grid: Grid, paper: str | None) -> str:
    """All tables that compare as Markdown."""
    title = f"{grid.spec.title}: " + ("the paper beside ours" if paper else "gain")
    return listings_markdown(title, listings(grid, paper))


def listings_markdown(heading: str, tables: Sequence[Listing]) -> str:
    """Tables, their notes above them, as Markdown; the first that compares is what the heading says."""
    parts = [f"# {markdown(heading)}"]
    for title, rows, notes in tables:
        parts += [f"## {title}"] * (title != BESIDE) + [markdown(note) for note in notes]
        parts.append(aligned([list(map(markdown, row)) for row in rows], names=2 if rows[0][0] == "Data set" else 1))
    return "\n\n".join(parts) + "\n"


def listings(grid: Grid, paper: str | None) -> list[Listing]:
    """Each table that compares: with the paper, if it was published, and the gain."""
    cells, found = compare(grid, paper), []
    if paper:
        spread = WITHOUT_STD if all(std is None for _, std in published(paper).values()) else WITH_STD
        found.append((BESIDE, _cell_rows(cells), [CELLS.format(**spread), backbones(grid, paper)]))
        if means := offsets(cells):
            rows = [["Method", "Cells", "Above", "Below", "Mean difference"]]
            for method, values in means.items():
                sides = sum(value > ROUNDING for value in values), sum(value < -ROUNDING for value in values)
                rows.append([display_name(method), *map(str, (len(values), *sides)), f"{fmean(values):+.2f}"])
            found.append(("Difference by method", rows, [OFFSETS]))
        if columns := orders(grid, cells):
            rows = [["Data set", "Rate", "Methods", "tau-b"]]
            for one in columns:
                tau = _number(one["tau_b"], ".2f")
                rows.append([one["data"], display_rate(one["rate"]), str(one["methods"]), tau])
            found.append(("Order of the methods", rows, [ORDER]))
    if {BASELINE, CHALLENGER} <= set(grid.spec.methods):
        title = f"Gain of {display_name(CHALLENGER)} over {display_name(BASELINE)}"
        found.append((title, _gain_rows(cells, paper), [GAIN if grid.spec.unit == "replicate" else SEED_GAIN]))
    return found


def backbones(grid: Grid, paper: str) -> str:
    """Our setting and the paper's backbones, and a warning where they differ."""
    theirs = list(_tables().query("table == @paper")["backbone"].unique())
    sentences = [setting(grid), f"Backbone of the paper: {' and '.join(theirs)}, pre-trained."]
    for field, usual, what in (
        ("backbone", theirs, "backbone than the paper's"),
        ("protocol", ["paper"], "protocol than paper"),
    ):
        if other := [data for data in grid.spec.data if set(grid.names(field, data)) - set(usual)]:
            sentences.append(f"Another {what} in {', '.join(other)}: not the same experiment.")
    sentences += (random_weights(grid, data) for data in grid.spec.data)
    return " ".join(filter(None, sentences))


def _cell_rows(cells: Rows) -> list[list[str]]:
    rows = [["Data set", "Method", "Rate", "Paper", "TLlib", "Ours", "Runs", "Difference"]]
    for one in cells:
        names = one["data"], display_name(one["method"]), display_rate(one["rate"])
        difference = "random weights" if one["random"] else _number(one["difference"], "+.2f")
        paper, ours = mean_text(one["paper_mean"], one["paper_std"]), mean_text(one["mean"], one["std"])
        rows.append([*names, paper, _number(one["tllib"], ".1f"), ours, str(one["n"]), difference])
    return rows


def _gain_rows(cells: Rows, paper: str | None) -> list[list[str]]:
    """One row for each column of the table; intervals where there are any."""
    plain, tuned = ([one for one in cells if one["method"] == method] for method in (BASELINE, CHALLENGER))
    tested = any(one["gain_low"] is not None for one in tuned)
    rows = [["Data set", "Rate", *["Paper"] * bool(paper), "Ours", *["95 % interval"] * tested, "Pairs"]]
    for base, one in zip(plain, tuned, strict=True):
        known = None
        if one["paper_mean"] and base["paper_mean"] and not one["random"] + base["random"]:
            known = one["paper_mean"] - base["paper_mean"]
        row = [one["data"], display_rate(one["rate"]), *[_number(known, "+.2f")] * bool(paper)]
        interval = "–" if one["gain_low"] is None else "[{gain_low:+.2f}, {gain_high:+.2f}]".format(**one)
        rows.append([*row, _number(one["gain"], "+.2f"), *[interval] * tested, str(one["gain_units"])])
    return rows


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
