"""Loss terms while training, one panel for each sampling rate."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotune_bench.reports.figures.base import NamedFigure, legend, new_figure, stem, style
from cotune_bench.reports.figures.runs import Term, mean_terms
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.tables import display_name, display_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CE = "ce"  # the term that all methods share
SHARED = "cross-entropy"
PANEL = 0.34  # height of a panel, of the width
ENTRY, LINE = 1.7, 0.19  # inches for an entry of a legend
MARKS = 5  # markers on a curve
FILLS = ("full", "none", "left", "bottom")  # of the markers of one method's terms

#: Terms by sampling rate, method and name.
Terms = dict[float, dict[str, dict[str, Term]]]


def training_figures(grid: Grid, results: Path, width: float) -> tuple[list[NamedFigure], list[str]]:
    """Cross-entropy above, the other weighted terms below; one figure for each data set whose runs left metrics."""
    figures, lacking = [], []
    for data in grid.spec.data:
        terms: Terms = {}
        counts = []
        for rate in sorted(grid.spec.rates):
            for method in grid.spec.methods:
                found, runs = mean_terms(grid.cell(data, method, rate), results)
                if any(found.values()):
                    terms.setdefault(rate, {})[method] = found
                    counts.append(runs)
        if terms:
            figure = draw(terms, grid.spec.methods, width)
            figures.append(NamedFigure(stem(grid.spec.name, data, "training"), figure, _caption(data, terms, counts)))
        elif any(cell.n for cell in grid.cells if cell.data == data):
            lacking.append(data)
    return figures, lacking


def draw(terms: Terms, methods: tuple[str, ...], width: float) -> "Figure":
    """Panels by rate; above the cross-entropy, below the terms that only some methods have, if there are any."""
    known = {(name == CE, method, name) for found in terms.values() for method in found for name in found[method]}
    counts = {kind: sum(shared == (kind == SHARED) for shared, _, _ in known) for kind in (SHARED, "other terms")}
    counts = {kind: count for kind, count in counts.items() if count}
    columns = max(1, int(width / ENTRY))  # of the legend
    heights = [PANEL * width + 0.6 + LINE * math.ceil(count / columns) for count in counts.values()]
    figure = new_figure(width, sum(heights))
    rows = figure.subfigures(len(counts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for row, kind in zip(rows, counts, strict=True):
        panels = row.subplots(1, len(terms), sharex=True, sharey=True, squeeze=False)[0]
        handles: dict[str, Any] = {}
        for axes, (rate, found) in zip(panels, terms.items(), strict=True):
            for method, named in found.items():
                _draw_method(axes, method, named, methods, kind == SHARED, handles)
            axes.set_xlabel("Updates")
            axes.annotate(display_rate(rate), (0.5, 1), (0, 3), "axes fraction", "offset points", ha="center")
        _scale(panels[0], all((line.get_ydata() > 0).all() for axes in panels for line in axes.lines))
        panels[0].set_ylabel(f"Loss: {kind}")
        beneath: dict[str, Any] = {"loc": "outside lower center", "bbox_to_anchor": None, "ncols": columns}
        legend(row, list(handles.values()), list(handles), **beneath)
    return figure


def _scale(axes: "Axes", positive: bool) -> None:
    """Few ticks, without powers as formulas, and logarithmic if all values are above 0 and span a power of ten."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(2, integer=True))
    axes.margins(x=0.04)
    spans = [one.dataLim.intervaly for one in axes.get_shared_y_axes().get_siblings(axes)]
    if positive and max(high for _, high in spans) >= 10 * min(low for low, _ in spans):  # or no tick has a number
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")


def _draw_method(
    axes: "Axes", method: str, named: dict[str, Term], methods: tuple[str, ...], shared: bool, handles: dict[str, Any]
) -> None:
    chosen = [name for name in named if (name == CE) == shared and named[name]]
    for number, name in enumerate(chosen):
        look = style(method, methods) | {"fillstyle": FILLS[number % len(FILLS)], "markersize": 4}
        values = named[name]
        every = max(1, len(values) // MARKS)
        start = methods.index(method) * every // len(methods)  # so that markers do not cover each other
        (line,) = axes.plot(
            list(values), list(values.values()), linewidth=1.1, markevery=(min(start, len(values) - 1), every), **look
        )
        handles.setdefault(display_name(method) if shared else f"{display_name(method)}: {name}", line)


def _caption(data: str, terms: Terms, counts: list[int]) -> str:
    seeds = f"{min(counts)} to {max(counts)} runs" if min(counts) < max(counts) else f"{counts[0]} run"
    seeds += "s" if min(counts) == max(counts) > 1 else ""
    rates = ", ".join(display_rate(rate) for rate in terms)
    return (
        f"Loss terms on the training batches of {data} at sampling rates of {rates}: every point is the mean since "
        f"the point before and over the {seeds} that left their metrics. Terms are weighted as they are added up; "
        "above cross-entropy, below what methods add to it."
    )
