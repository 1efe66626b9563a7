"""Reliability diagram of p(target | source) before and after its calibration."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cotune_bench.metrics import Reliability
from cotune_bench.reports.figures.base import NamedFigure, legend, new_figure, stem
from cotune_bench.reports.figures.runs import contents
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import display_name, display_rate
from cotune_bench.storage import calibration_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colour, marker, line and hatch of each state.
LOOKS = (("#D55E00", "s", ":", "////"), ("#0072B2", "o", "-", ""))


def calibration_figures(grid: Grid, results: Path, width: float) -> tuple[list[NamedFigure], list[str]]:
    """One for each data set and method whose runs left their calibration, and the data sets that have none."""
    found, lacking = contents(grid, results, calibration_file.FILE, calibration_file.from_csv)
    return [_named(grid, cell, states, width) for cell, states in found], lacking


def _named(grid: Grid, cell: Cell, states: dict[str, Reliability], width: float) -> NamedFigure:
    images = next(iter(states.values())).images
    text = (
        f"Reliability of p(target | source), learnt by {display_name(cell.method)} on {cell.data} at a sampling rate "
        f"of {display_rate(cell.rate)}, before and after its temperature was fitted: accuracy and number of images "
        f"in bins of the largest probability. The {images} validation images are those that chose the regression and "
        "fitted the temperature, so that both look better than on new images. ECE is the expected calibration error."
    )
    rows = [("Calibration", "Temperature", "Expected calibration error (%)")]
    rows += [(name, f"{told.temperature:.3g}", f"{100 * told.error:.1f}") for name, told in states.items()]
    name = stem(grid.spec.name, cell.data, cell.method, "calibration")
    return NamedFigure(name, draw(states, width), text, tuple(rows))


def draw(states: dict[str, Reliability], width: float) -> "Figure":
    """Accuracy over confidence above, images in each bin below."""
    figure = new_figure(width, 0.72 * width)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 100], [0, 100], color="#888888", linewidth=0.8, zorder=1)
    handles, names = [], []
    bin_width = 100 / max(told.count for told in states.values())
    size = bin_width / (len(states) + 0.5)
    for number, ((state, told), (colour, marker, line, hatch)) in enumerate(zip(states.items(), LOOKS, strict=False)):
        bins, images, sure, right = map(np.array, zip(*told.bins, strict=True))
        look = {"color": colour, "marker": marker, "linestyle": line, "linewidth": 1.3, "markersize": 5}
        handles += above.plot(100 * sure, 100 * right, clip_on=False, **look)
        names.append(f"{state}, ECE {100 * told.error:.1f} %")
        left = (bins + 0.5) * bin_width + (number - len(states) / 2) * size
        face = "white" if hatch else colour
        below.bar(left, images, size, align="edge", hatch=hatch, facecolor=face, edgecolor=colour)
    above.set_ylabel("Accuracy (%)")
    below.set_ylabel("Images")
    below.set_xlabel("Confidence (%)")
    below.set_xlim(0, 100)
    below.grid(visible=False, axis="x")
    above.set_ylim(0, 102)
    legend(figure, handles, names, loc="outside upper center", bbox_to_anchor=None, ncols=2 if width > 4.5 else 1)
    return figure
