"""Loss terms during training, one panel for each sampling rate."""

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator

from cotune_bench.reports.figures.base import WIDTH, Figure, NamedFigure, new_figure, stem, style
from cotune_bench.reports.figures.runs import content
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import display_name, display_rate

CE = "ce"  # the term that all methods share
PANEL = 0.34  # height of a panel, of the width
ENTRY, LINE = 1.7, 0.19  # inches for an entry of the legend
MARKS = 5  # markers on a curve
FILLS = ("full", "none", "left", "bottom")  # of the markers of one method's terms

#: Mean loss terms over runs (columns) by updates done, of a rate and a method.
Terms = dict[tuple[float, str], pd.DataFrame]


def training_figures(grid: Grid, results: Path) -> tuple[list[NamedFigure], list[str]]:
    """One figure for each data set whose runs have metrics, and the data sets whose runs have none."""
    figures, lacking = [], []
    for data in grid.spec.data:
        cells = [cell for method in grid.spec.methods for cell in grid.row(data, method)]
        means = {(cell.rate, cell.method): mean_terms(cell, results) for cell in cells}
        terms = {place: found for place, (found, _) in means.items() if not found.empty}
        if terms:
            counts = sorted({means[place][1] for place in terms})
            text = _caption(data, sorted({rate for rate, _ in terms}), counts)
            figures.append(NamedFigure(stem(grid.spec.name, data, "training"), draw(terms, grid.spec.methods), text))
        elif any(cell.n for cell in grid.cells if cell.data == data):
            lacking.append(data)
    return figures, lacking


def mean_terms(cell: Cell, results: Path) -> tuple[pd.DataFrame, int]:
    """Weighted loss terms of a cell, means over its runs at the updates that all of them reported; number of runs."""
    read = (content(results / "runs" / key / "metrics.csv", _terms) for key in cell.keys)
    runs = [run for run in read if run is not None and len(run)]
    if not runs:
        return pd.DataFrame(), 0
    mean = sum(runs[1:], start=runs[0]) / len(runs)  # NaN where a run has not reported
    return mean.dropna(axis=1, how="all").dropna(), len(runs)


def _terms(text: str) -> pd.DataFrame:
    """The terms in a ``metrics.csv`` by updates done; a last line without an end is torn."""
    rows = pd.read_csv(io.StringIO(text.rpartition("\n")[0])).dropna().set_index("updates")
    return rows.drop(columns=["lr", "loss"]).astype(float)


def draw(terms: Terms, methods: tuple[str, ...]) -> Figure:
    """Panels by rate; above the cross-entropy, below the terms that only some methods have, if there are any."""
    rates = sorted({rate for rate, _ in terms})
    others = any(name != CE for found in terms.values() for name in found)
    entries = len({(method, name) for (_, method), found in terms.items() for name in found})
    columns = int(WIDTH / ENTRY)  # of the legend
    figure = new_figure(WIDTH, (1 + others) * (PANEL * WIDTH + 0.3) + LINE * math.ceil(entries / columns) + 0.3)
    panels = figure.subplots(1 + others, len(rates), sharex=True, sharey="row", squeeze=False)
    handles = {}
    for row, axes_row in enumerate(panels):
        for axes, rate in zip(axes_row, rates, strict=True):
            for method in [method for method in methods if (rate, method) in terms]:
                found = terms[rate, method]
                for number, name in enumerate(name for name in found if (name != CE) == bool(row)):
                    label = display_name(method) + (f": {name}" if row else "")
                    look = style(method, methods) | {"fillstyle": FILLS[number % len(FILLS)], "markersize": 4}
                    every = max(1, len(found) // MARKS)
                    start = methods.index(method) * every // len(methods)  # so that markers do not cover each other
                    marks = (min(start, len(found) - 1), every)
                    (line,) = axes.plot(found.index, found[name], linewidth=1.1, markevery=marks, **look)
                    handles.setdefault(label, line)
        _scale(axes_row)
        axes_row[0].set_ylabel("Loss: other terms" if row else "Loss: cross-entropy")
    for axes, rate in zip(panels[0], rates, strict=True):
        axes.set_title(display_rate(rate), fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("Updates")
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)
    return figure


def _scale(row: list[Axes]) -> None:
    """Few ticks, and a logarithmic scale if all values are above 0 and span a power of ten."""
    values = np.concatenate([np.asarray(line.get_ydata()) for axes in row for line in axes.lines])
    row[0].xaxis.set_major_locator(MaxNLocator(2, integer=True))
    if 0 < 10 * values.min() <= values.max():  # below a power of ten a logarithmic axis may have no labelled tick
        row[0].set_yscale("log")
        row[0].yaxis.set_major_locator(LogLocator(numticks=6))
        row[0].yaxis.set_major_formatter("{x:g}")
        row[0].yaxis.set_minor_formatter("")


def _caption(data: str, rates: list[float], counts: list[int]) -> str:
    runs = " to ".join(map(str, [counts[0], counts[-1]][: len(counts)]))
    return (
        f"Loss terms on the training batches of {data} at sampling rates of {', '.join(map(display_rate, rates))}: "
        f"every point is the mean since the point before and over the {runs} run{'s' if counts[-1] > 1 else ''} that "
        "have metrics. Terms are weighted as they are added up; above cross-entropy, below what methods add to it."
    )
