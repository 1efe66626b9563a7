"""Accuracy against the sampling rate."""

import numpy as np

from cotune_bench.reports.captions import statistic
from cotune_bench.reports.figures.base import WIDTH, Figure, NamedFigure, new_figure, stem, style
from cotune_bench.reports.grid import SPREADS, Grid
from cotune_bench.reports.tables import display_name

HEIGHT = 0.62  # of the width
DODGE = 0.006  # of the axis: distance between curves, so that error bars stay apart


def accuracy_figures(grid: Grid) -> list[NamedFigure]:
    """Mean accuracy with error bars, one figure for each data set that has runs."""
    found = []
    for data in filter(grid.runs, grid.spec.data):
        baselines = " Baselines are in the table alone." if grid.spec.baselines else ""
        text = f"Accuracy on {data} over the sampling rate. {statistic(grid)}{baselines}"
        found.append(NamedFigure(stem(grid.spec.name, data, "accuracy"), draw(grid, data), text))
    return found


def draw(grid: Grid, data: str) -> Figure:
    """Means ± the table's spread over the sampling rate in percent, one curve for each method that has runs."""
    figure = new_figure(WIDTH, HEIGHT * WIDTH)
    axes = figure.add_subplot(xlabel="Sampling rate (%)", ylabel="Test accuracy (%)")
    rates = 100 * np.array(sorted(grid.spec.rates))
    span = float(rates[-1] - rates[0]) or 10.0
    rows = [sorted(grid.row(data, method), key=lambda cell: cell.rate) for method in grid.spec.methods]
    rows = [row for row in rows if any(cell.n for cell in row)]
    for number, row in enumerate(rows):
        means, bars = np.array([[cell.mean, cell.spread] for cell in row], dtype=float).T  # NaN for None
        shift = DODGE * span * (number - (len(rows) - 1) / 2)
        look = style(row[0].method, grid.spec.methods) | {"linewidth": 1.3, "elinewidth": 0.9, "capsize": 2}
        axes.errorbar(rates + shift, means, yerr=bars, label=display_name(row[0].method), **look)
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.grid(visible=False, axis="x")
    barred = any(cell.spread is not None for row in rows for cell in row)
    title = f"mean ± {SPREADS[grid.spec.std]}\nover {grid.spec.unit}s" if barred else ""
    figure.legend(title=title, loc="outside right center")
    return figure
