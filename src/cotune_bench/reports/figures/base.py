"""Style of all figures, their bytes as PDF, PNG and SVG, and what they read in run folders."""

import io
import re
from collections.abc import Callable, Sequence, Sized
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.style import context

from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import METHOD_NAMES

WIDTH = 5.5  # inches; one text column
ROW, NAMED, LONGEST = 0.17, 40, 30  # of a heat map: inches for a row, names on an axis, characters of a name
NUMBERED = 15  # rows and columns of a heat map whose cells have room for a number
#: Okabe and Ito's colours for any colour vision; without yellow, too pale for a line on white.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7")
MARKERS = ("o", "s", "^", "v", "*", "D", "P", "X", "<", ">", "h", "p", "d", "8", "1", "2", "3", "4", "+", "x")
LINES = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), "-", (0, (6, 2)), (0, (2, 1)), (0, (8, 1, 1, 1)))
RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 3.4,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "svg.hashsalt": "cotune_bench",
    "text.parse_math": False,  # names of methods and classes are no formulas
}
#: Without the time of writing and matplotlib's version.
METADATA = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}

Content = TypeVar("Content", bound=Sized)


@dataclass(frozen=True)
class NamedFigure:
    """One figure of a table.

    Attributes:
        name: its files' name without suffix, such as ``desk-digits-accuracy``.
        figure: without a title; draw it by :func:`image` or :func:`inline_svg`.
        caption: what it shows, plain text of one paragraph.
        rows: the same in words or numbers, a header and one row each; empty if the table of the grid has them.
    """

    name: str
    figure: Figure
    caption: str
    rows: tuple[tuple[str, ...], ...] = ()


#: The figures of one kind, and the data sets whose runs have none of it.
Drawn = tuple[list[NamedFigure], list[str]]


def stem(*parts: str) -> str:
    """File name from the names of a table, a data set, a method; special characters become dashes."""
    return re.sub(r"[^\w.]+", "-", "-".join(parts))


def settings() -> AbstractContextManager[None]:
    """Context with matplotlib's defaults and ours, whatever the user's own are."""
    return context(["default", RC])


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, without pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(method: str, methods: Sequence[str] = ()) -> dict[str, Any]:
    """Colour, marker and line of a method, the same in every figure.

    Methods that are not in METHOD_NAMES take the styles after those, in the order of their names among ``methods``,
    the table's.
    """
    place = [*METHOD_NAMES, *sorted({method, *methods} - METHOD_NAMES.keys())].index(method)
    marker, line = MARKERS[place % len(MARKERS)], LINES[place % len(LINES)]
    size = 8 if marker == "*" else 5
    return {"color": COLOURS[place % len(COLOURS)], "marker": marker, "linestyle": line, "markersize": size}


def shortened(name: str, longest: int) -> str:
    """A name of at most so many characters."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def evenly_spaced(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many of a table's rows, the first and the last among them."""
    return table.iloc[np.linspace(0, len(table) - 1, min(most, len(table))).round().astype(int)]


def heat_map(shares: pd.DataFrame, down: str, across: str, label: str, vmax: float | None = None) -> Figure:
    """Shares in percent, white is 0; names of up to NAMED classes on each axis.

    Args:
        shares: classes in rows and columns.
        down, across, label: what rows, columns and colours are.
        vmax: the darkest share; by default the largest.
    """
    rows, columns = ([shortened(name, LONGEST) for name in names if len(names) <= NAMED] for names in shares.axes)
    longest = max(map(len, columns), default=0)
    figure = new_figure(WIDTH, ROW * min(len(shares), NAMED) + 0.06 * longest + 0.9)
    axes = figure.add_subplot(xlabel=across, ylabel=down)
    picture = axes.imshow(shares.to_numpy(), cmap="Blues", vmin=0, vmax=vmax, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.set_xticks(range(len(columns)), columns, rotation=0 if longest <= 2 else 90, fontsize=7)
    axes.tick_params(length=0)
    darkest = vmax or shares.to_numpy().max()
    for (row, column), value in np.ndenumerate(shares) if max(shares.shape) <= NUMBERED else ():
        if value >= 0.5:
            colour = "white" if value > darkest / 2 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6, color=colour)
    axes.grid(visible=False)
    axes.spines[["top", "right"]].set_visible(True)
    figure.colorbar(picture, ax=axes, label=label, pad=0.02, shrink=0.9)
    return figure


def image(figure: Figure, suffix: str) -> bytes:
    """The file of a figure as ``pdf``, ``png`` or ``svg``; the same figure always gives the same bytes."""
    buffer = io.BytesIO()
    with settings():
        figure.savefig(buffer, format=suffix, metadata=METADATA[suffix])
    return buffer.getvalue()


def inline_svg(named: NamedFigure) -> str:
    """The ``<svg>`` element of a figure for a page, text as shapes; its ids begin with the figure's name."""
    text = image(named.figure, "svg").decode()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{named.name}-", text)


def content(path: Path, read: Callable[[str], Content]) -> Content | None:
    """What ``read`` makes of a file's text; None for a file that is missing or damaged."""
    try:
        return read(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, LookupError):
        return None


def of_methods(
    grid: Grid, results: Path, file: str, read: Callable[[str], Content], draw: Callable[[Cell, Content], NamedFigure]
) -> Drawn:
    """A figure for each data set and method, from the ``file`` in a run folder, unless nothing is read from it.

    It is that of the largest sampling rate, and there of the first run that has it.
    """
    figures, lacking = [], []
    for data in grid.spec.data:
        found = []
        for method in grid.spec.methods:
            cells = sorted(grid.row(data, method), key=lambda cell: -cell.rate)
            each = ((cell, content(results / "runs" / key / file, read)) for cell in cells for key in cell.keys)
            found += [draw(cell, one) for cell, one in each if one is not None and len(one)][:1]
        figures += found
        lacking += [data] * bool(not found and grid.runs(data))
    return figures, lacking
