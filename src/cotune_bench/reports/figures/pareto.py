"""Accuracy against the time of a run: which methods are worth their time."""

import statistics
from typing import Any

from matplotlib.ticker import LogFormatter

from cotune_bench.reports.figures.base import WIDTH, Figure, NamedFigure, new_figure, stem, style
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.tables import display_name, display_rate

LEAST = 3  # methods; two need no front

#: Median seconds and mean accuracy in percent by method.
Points = dict[str, tuple[float, float]]


def pareto_figures(grid: Grid) -> list[NamedFigure]:
    """One for each data set at its largest rate, where at least LEAST methods have runs."""
    figures = []
    for data in filter(grid.runs, grid.spec.data):
        points, rate = points_of(grid, data), max(grid.spec.rates)
        if len(points) < LEAST:
            continue
        best = front(points)
        text = (
            f"Mean test accuracy on {data} at a sampling rate of {display_rate(rate)} against the median seconds of "
            "a run, from start to record, on the machines that they ran on. Filled: no other method is at least as "
            "accurate in at most the time."
        )
        rows = [
            (display_name(method), f"{seconds:.1f}", f"{accuracy:.2f}", "yes" if method in best else "")
            for method, (seconds, accuracy) in sorted(points.items(), key=lambda one: one[1])
        ]
        header = ("Method", "Seconds", "Accuracy (%)", "On the front")
        name = stem(grid.spec.name, data, "pareto")
        figures.append(NamedFigure(name, draw(points, grid.spec.rows), text, (header, *rows)))
    return figures


def points_of(grid: Grid, data: str) -> Points:
    """The methods and baselines that have runs on a data set at the largest rate."""
    cells = [grid.cell(data, method, max(grid.spec.rates)) for method in grid.spec.rows]
    return {
        cell.method: (statistics.median(run.seconds for run in cell.runs), cell.mean)
        for cell in cells
        if cell.mean is not None
    }


def front(points: Points) -> list[str]:
    """Methods that no other one beats: at least as accurate in at most the time, and better in one of both."""
    return [
        method
        for method, (seconds, accuracy) in points.items()
        if not any(
            other[0] <= seconds and other[1] >= accuracy and other != (seconds, accuracy) for other in points.values()
        )
    ]


def draw(points: Points, methods: tuple[str, ...]) -> Figure:
    """A marker for each method, filled on the front, which a line joins; seconds on a logarithmic axis."""
    figure = new_figure(WIDTH, 0.62 * WIDTH)
    axes = figure.add_subplot(xlabel="Seconds of a run", ylabel="Test accuracy (%)", xscale="log")
    best = front(points)
    times, accuracies = zip(*sorted(points[method] for method in best), strict=True)
    axes.plot(times, accuracies, color="#AAAAAA", linewidth=1, zorder=1, drawstyle="steps-post")
    for method, (seconds, accuracy) in points.items():
        look: dict[str, Any] = style(method, methods) | {
            "linestyle": "none",
            "fillstyle": "full" if method in best else "none",
        }
        axes.plot([seconds], [accuracy], label=display_name(method), **look)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))  # between powers of ten, if few
    figure.legend(loc="outside right center")
    return figure
