"""Style of all figures, and their bytes as PDF, PNG and SVG, the same every time."""

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.style import context

from cotune_bench.reports.tables import METHOD_NAMES

WIDTH = 5.5  # inches; one text column
#: Okabe and Ito's colours for any colour vision; without yellow, too pale for a line on white.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7")
MARKERS = ("o", "s", "^", "v", "*", "D", "P", "X", "<", ">", "h", "p", "d", "8", "H", "1", "2", "3", "4", "+", "x")
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
    "svg.hashsalt": "cotune_bench",
    "text.parse_math": False,  # names of methods and classes are no formulas
}
#: Without the time of writing and matplotlib's version.
METADATA = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}


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
    marker = MARKERS[place % len(MARKERS)]
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": marker,
        "linestyle": LINES[place % len(LINES)],
        "markersize": 8 if marker == "*" else 5,
    }


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
