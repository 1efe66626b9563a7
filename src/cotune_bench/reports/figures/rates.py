"""Accuracy, and the gain over fine-tuning, against the sampling rate."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotune_bench.reports.captions import statistic
from cotune_bench.reports.figures.base import NamedFigure, floats, legend, method_names, new_figure, stem, style
from cotune_bench.reports.grid import Grid, spread
from cotune_bench.reports.published import BASELINE
from cotune_bench.reports.spec import SPREADS
from cotune_bench.reports.tables import display_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT = 0.62  # of the width
DODGE = 0.04  # of the axis: how far curves move apart at most, so that error bars stand side by side


@dataclass(frozen=True)
class Curve:
    """One method over the rates: values and half the lengths of their error bars, NaN where unknown."""

    method: str
    values: tuple[float, ...]
    bars: tuple[float, ...]


def accuracy_figures(grid: Grid, width: float) -> list[NamedFigure]:
    """Mean accuracy with error bars, one figure for each data set that has runs."""
    found = []
    for data in grid.spec.data:
        if curves := accuracy_curves(grid, data):
            figure = draw(grid, curves, "Test accuracy (%)", width)
            baselines = " Baselines are in the table alone." if grid.spec.baselines else ""
            text = f"Accuracy on {data} over the sampling rate. {statistic(grid)}{baselines}"
            found.append(NamedFigure(stem(grid.spec.name, data, "accuracy"), figure, text))
    return found


def gain_figures(grid: Grid, width: float) -> tuple[list[NamedFigure], list[str]]:
    """Gain over fine-tuning, paired, one for each data set where a method has one; what is left out."""
    found, left_out, unit = [], [], grid.spec.unit
    for data in grid.spec.data:
        if curves := gain_curves(grid, data):
            figure = draw(grid, curves, f"Gain over {display_name(BASELINE).lower()} (points)", width)
            what = f"difference in points between a run and that of {display_name(BASELINE)} with the same {unit}"
            text = f"Gain over fine-tuning on {data} over the sampling rate. {statistic(grid, what)}"
            found.append(NamedFigure(stem(grid.spec.name, data, "gain"), figure, text))
        elif any(cell.n for cell in grid.cells if cell.data == data):
            left_out.append(
                f"No gain on {data}: no method has a run with the {unit} and rate of one of {BASELINE}'s."
            )
    return found, left_out


def accuracy_curves(grid: Grid, data: str) -> list[Curve]:
    """Mean accuracy in percent ± the table's spread of every method that has runs."""
    curves = []
    for method in grid.spec.methods:
        cells = grid.row(data, method)
        bars = floats([cell.spread for cell in cells])
        curves.append(Curve(method, floats([cell.mean for cell in cells]), bars))
    return [curve for curve in curves if not all(map(math.isnan, curve.values))]


def gain_curves(grid: Grid, data: str) -> list[Curve]:
    """Gain over fine-tune in points, paired over units, ± the table's spread, of every method that has one."""
    curves = []
    if BASELINE in grid.spec.methods:
        for method in grid.spec.methods:
            gains = [_gains(grid, data, method, rate) for rate in grid.spec.rates if method != BASELINE]
            means = floats([statistics.mean(found) if found else None for found in gains])
            curves.append(Curve(method, means, floats([spread(found, grid.spec.std) for found in gains])))
    return [curve for curve in curves if not all(map(math.isnan, curve.values))]


def _gains(grid: Grid, data: str, method: str, rate: float) -> list[float]:
    baseline = dict(grid.cell(data, BASELINE, rate).values)
    return [value - baseline[unit] for unit, value in grid.cell(data, method, rate).values if unit in baseline]


def draw(grid: Grid, curves: Sequence[Curve], label: str, width: float) -> "Figure":
    """Curves over the sampling rate in percent; the legend tells what the bars are; ``width`` in inches."""
    bars = f"mean ± {SPREADS[grid.spec.std]}\nover {grid.spec.unit}s" if _barred(curves) else ""
    figure = new_figure(width, HEIGHT * width)
    axes = figure.add_subplot()
    rates = sorted(100 * rate for rate in grid.spec.rates)
    span = rates[-1] - rates[0] or 10.0
    order = sorted(range(len(rates)), key=lambda place: grid.spec.rates[place])
    for number, curve in enumerate(curves):
        shift = span * min(DODGE / len(curves), 0.006) * (number - (len(curves) - 1) / 2)
        axes.errorbar(
            [rate + shift for rate in rates],
            [curve.values[place] for place in order],
            yerr=[curve.bars[place] for place in order],
            linewidth=1.3,
            elinewidth=0.9,
            capsize=2,
            **style(curve.method, grid.spec.methods),
        )
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xlim(rates[0] - 0.06 * span, rates[-1] + 0.06 * span)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("Sampling rate (%)")
    axes.set_ylabel(label)
    low, high = axes.get_ylim()
    if low < 0 < high:
        axes.axhline(0, color="#888888", linewidth=0.8, zorder=1)
    legend(axes, axes.containers, method_names([curve.method for curve in curves]), bars)
    return figure


def _barred(curves: Sequence[Curve]) -> bool:
    return any(not math.isnan(bar) for curve in curves for bar in curve.bars)
