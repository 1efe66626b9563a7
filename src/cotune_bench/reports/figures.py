"""Curves of a grid over the sampling rate as PDF and PNG; the same grid always gives the same bytes."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotune_bench.files import write_atomically
from cotune_bench.reports.compare import BASELINE, compare
from cotune_bench.reports.grid import SPREADS, Grid
from cotune_bench.reports.tables import METHOD_NAMES, display_name

if TYPE_CHECKING:  # a second that tables need not wait for
    from matplotlib.figure import Figure

SIZE = (5.5, 3.4)  # inches; one text column
DODGE = 0.04  # of the axis: how far curves move apart at most, so that error bars stand side by side
#: Okabe and Ito's colours, told apart with any colour vision; without yellow, too pale for a line on white.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7")
MARKERS = ("o", "s", "^", "v", "*", "D", "P", "X", "<", ">", "h", "p", "d", "8", "H", "1", "2", "3")
LINES = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), "-", (0, (6, 2)), (0, (2, 1)), (0, (8, 1, 1, 1)))
RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "savefig.dpi": 200,
}
METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}}


@dataclass(frozen=True)
class Curve:
    """One method over the rates: values and half the lengths of their error bars, NaN where unknown."""

    method: str
    values: tuple[float, ...]
    bars: tuple[float, ...]


def accuracy_curves(grid: Grid, data: str) -> list[Curve]:
    """Mean accuracy in percent ± the table's spread of every method that has runs."""
    curves = []
    for method in grid.spec.methods:
        cells = grid.row(data, method)
        bars = _floats([cell.spread for cell in cells])
        curves.append(Curve(method, _floats([cell.mean for cell in cells]), bars))
    return [curve for curve in curves if not all(map(math.isnan, curve.values))]


def gain_curves(grid: Grid, data: str) -> list[Curve]:
    """Gain over fine-tune in points, paired over seeds, with its 95 % t interval, of every method that has one."""
    curves = []
    comparisons = [one for one in compare(grid, None) if one.cell.data == data and one.cell.method != BASELINE]
    for method in grid.spec.methods:
        gains = [one.gain for one in comparisons if one.cell.method == method]
        bars = _floats([_half(gain.interval()) if gain else None for gain in gains])
        curves.append(Curve(method, _floats([gain.mean if gain else None for gain in gains]), bars))
    return [curve for curve in curves if not all(map(math.isnan, curve.values))]


def style(method: str, methods: Sequence[str] = ()) -> dict[str, Any]:
    """Colour, marker and line of a method: the same everywhere; new ones by their place among a table's new ones."""
    known = list(METHOD_NAMES)
    places = known + [name for name in methods if name not in known]
    place = places.index(method) if method in places else len(known)
    marker = MARKERS[place % len(MARKERS)]
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": marker,
        "linestyle": LINES[place % len(LINES)],
        "markersize": 8 if marker == "*" else 5,
    }


def draw(grid: Grid, curves: Sequence[Curve], label: str, bars: str, size: tuple[float, float] = SIZE) -> "Figure":
    """Curves over the sampling rate in percent; the legend tells what the ``bars`` are; ``size`` in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
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
            label=display_name(curve.method).replace("$", r"\$"),  # no formula
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
    axes.legend(title=bars, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handlelength=3.4)
    return figure


def write_figures(grid: Grid, folder: Path, size: tuple[float, float] = SIZE) -> list[Path]:
    """Write ``<table>-<data>-accuracy`` and ``-gain`` as pdf and png into ``folder``; their paths.

    A data set without runs has no figure, one without fine-tune beside another method on a shared seed no gain.
    """
    from matplotlib.style import context

    written = []
    with context(["default", RC]):  # whatever the user's own settings are
        for data in grid.spec.data:
            kinds = {
                "accuracy": (accuracy_curves(grid, data), "Test accuracy (%)", f"mean ± {SPREADS[grid.spec.std]}"),
                "gain": (gain_curves(grid, data), "Gain over fine-tune (points)", "mean, 95 % interval"),
            }
            for kind, (curves, label, bars) in kinds.items():
                if curves:
                    written += _save(draw(grid, curves, label, bars, size), folder, f"{grid.spec.name}-{data}-{kind}")
    return written


def _save(figure: "Figure", folder: Path, stem: str) -> list[Path]:
    paths = [Path(folder) / f"{stem}.{suffix}" for suffix in METADATA]
    for path, (suffix, metadata) in zip(paths, METADATA.items(), strict=True):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=metadata)
        write_atomically(path, buffer.getvalue())
    return paths


def _floats(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value for value in values)


def _half(bounds: tuple[float, float] | None) -> float | None:
    return None if bounds is None else (bounds[1] - bounds[0]) / 2
