"""Loss terms during training, one panel for each sampling rate."""

import io
from pathlib import Path

import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator

from cotune_bench.reports.figures.base import WIDTH, Drawn, Figure, NamedFigure, content, new_figure, stem, style
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import display_name, display_rate

CE = "ce"  # the term that all methods share
PANEL = 0.42  # height of a row of panels, of the width
FILLS = ("full", "none", "left", "bottom")  # of the markers of one method's terms

#: Mean loss terms over runs (columns) by updates done, of a rate and a method.
Terms = dict[tuple[float, str], pd.DataFrame]


def training_figures(grid: Grid, results: Path) -> Drawn:
    """One figure for each data set whose runs have metrics."""
    figures, lacking = [], []
    for data in filter(grid.runs, grid.spec.data):
        cells = [cell for method in grid.spec.methods for cell in grid.row(data, method)]
        means = {(cell.rate, cell.method): mean_terms(cell, results) for cell in cells}
        terms = {place: found for place, (found, _) in means.items() if len(found)}
        if terms:
            text = _caption(data, sorted({rate for rate, _ in terms}), sorted({means[place][1] for place in terms}))
            figures.append(NamedFigure(stem(grid.spec.name, data, "training"), draw(terms, grid.spec.methods), text))
        else:
            lacking.append(data)
    return figures, lacking


def mean_terms(cell: Cell, results: Path) -> tuple[pd.DataFrame, int]:
    """Weighted loss terms of a cell, means over its runs at the updates that all of them reported; number of runs."""
    read = (content(results / "runs" / key / "metrics.csv", _terms) for key in cell.keys)
    runs = [run for run in read if run is not None and len(run)]
    mean = sum(runs[1:], start=runs[0]) / len(runs) if runs else pd.DataFrame()  # NaN where a run has not reported
    return mean.dropna(axis=1, how="all").dropna(), len(runs)


def _terms(text: str) -> pd.DataFrame:
    """The terms in a ``metrics.csv`` by updates done; a last line without an end is torn."""
    rows = pd.read_csv(io.StringIO(text.rpartition("\n")[0])).dropna().set_index("updates")
    return rows.drop(columns=["lr", "loss"]).astype(float)


def draw(terms: Terms, methods: tuple[str, ...]) -> Figure:
    """Panels by rate; above the cross-entropy, below the terms that only some methods have, if there are any."""
    rates = sorted({rate for rate, _ in terms})
    others = any(name != CE for found in terms.values() for name in found)
    figure = new_figure(WIDTH, (1 + others) * PANEL * WIDTH + 0.5)
    panels = figure.subplots(1 + others, len(rates), sharex=True, sharey="row", squeeze=False)
    handles = {}
    for below, row in enumerate(panels):
        values = []
        for axes, rate in zip(row, rates, strict=True):
            for place, method in enumerate(method for method in methods if (rate, method) in terms):
                found = terms[rate, method].drop(columns=CE) if below else terms[rate, method][[CE]]
                for fill, (name, losses) in zip(FILLS, found.items(), strict=False):
                    label = display_name(method) + (f": {name}" if below else "")
                    look = style(method, methods) | {"fillstyle": fill, "markersize": 4, "linewidth": 1.1}
                    (line,) = axes.plot(losses, markevery=(0.03 * place, 0.25), **look)  # shares of the diagonal
                    handles.setdefault(label, line)
                    values += list(losses)
        if 0 < 10 * min(values) <= max(values):  # below a power of ten a logarithmic axis may have no labelled tick
            row[0].set_yscale("log")
            row[0].yaxis.set_major_locator(LogLocator(numticks=6))
            row[0].yaxis.set_major_formatter("{x:g}")
            row[0].yaxis.set_minor_formatter("")
        row[0].set_ylabel("Loss: other terms" if below else "Loss: cross-entropy")
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(2, integer=True))
    for axes, rate in zip(panels[0], rates, strict=True):
        axes.set_title(display_rate(rate), fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("Updates")
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3)
    return figure


def _caption(data: str, rates: list[float], counts: list[int]) -> str:
    runs = " to ".join(map(str, [counts[0], counts[-1]][: len(counts)]))
    return (
        f"Loss terms on the training batches of {data} at sampling rates of {', '.join(map(display_rate, rates))}: "
        f"every point is the mean since the point before and over the {runs} run{'s' if counts[-1] > 1 else ''} that "
        "have metrics. Terms are weighted as they are added up; above cross-entropy, below what methods add to it."
    )
