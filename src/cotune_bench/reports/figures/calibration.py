"""Reliability diagram of p(target | source) before and after its calibration."""

from functools import partial
from pathlib import Path

import numpy as np

from cotune_bench.metrics import Reliability
from cotune_bench.reports.figures.base import WIDTH, Drawn, Figure, NamedFigure, new_figure, of_methods, stem
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import display_name, display_rate
from cotune_bench.storage import calibration_file

#: Colour, marker, line and face of the bars of each state.
LOOKS = (("#D55E00", "s", ":", "white"), ("#0072B2", "o", "-", "#0072B2"))


def calibration_figures(grid: Grid, results: Path) -> Drawn:
    """One for each data set and method whose runs have a calibration."""
    named = partial(_named, grid.spec.name)
    return of_methods(grid, results, calibration_file.FILE, calibration_file.from_csv, named)


def _named(table: str, cell: Cell, states: dict[str, Reliability]) -> NamedFigure:
    images = next(iter(states.values())).images
    text = (
        f"Reliability of p(target | source), learnt by {display_name(cell.method)} on {cell.data} at a sampling rate "
        f"of {display_rate(cell.rate)}, before and after its temperature was fitted: accuracy and number of images "
        f"in bins of the largest probability. The {images} validation images are those that chose the regression and "
        "fitted the temperature, so that both look better than on new images. ECE is the expected calibration error."
    )
    rows = [("Calibration", "Temperature", "Expected calibration error (%)")]
    rows += [(name, f"{state.temperature:.3g}", f"{100 * state.error:.1f}") for name, state in states.items()]
    return NamedFigure(stem(table, cell.data, cell.method, "calibration"), draw(states), text, tuple(rows))


def draw(states: dict[str, Reliability]) -> Figure:
    """Accuracy over confidence above, images in each bin below."""
    figure = new_figure(WIDTH, 0.72 * WIDTH)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 100], [0, 100], color="#888888", linewidth=0.8, zorder=1)
    bin_width = 100 / max(state.count for state in states.values())
    size = bin_width / (len(states) + 0.5)
    for number, ((name, state), (colour, marker, line, face)) in enumerate(zip(states.items(), LOOKS, strict=False)):
        bins, images, confidence, accuracy = map(np.array, zip(*state.bins, strict=True))
        look = {"color": colour, "marker": marker, "linestyle": line, "linewidth": 1.3, "markersize": 5}
        label = f"{name}, ECE {100 * state.error:.1f} %"
        above.plot(100 * confidence, 100 * accuracy, clip_on=False, label=label, **look)
        left = (bins + 0.5) * bin_width + (number - len(states) / 2) * size
        below.bar(left, images, size, align="edge", facecolor=face, edgecolor=colour)
    above.set(ylabel="Accuracy (%)", ylim=(0, 102))
    below.set(ylabel="Images", xlabel="Confidence (%)", xlim=(0, 100))
    below.grid(visible=False, axis="x")
    figure.legend(loc="outside upper center", ncols=2)
    return figure
