"""What all figures share: size, the look of every method, and bytes as PDF, PNG and SVG, the same every time."""

import io
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cotune_bench.reports.tables import METHOD_NAMES, display_name

if TYPE_CHECKING:  # a second that tables need not wait for
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

WIDTH = 5.5  # inches; one text column
#: Okabe and Ito's colours, told apart with any colour vision; without yellow, too pale for a line on white.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7")
MARKERS = ("o", "s", "^", "v", "*", "D", "P", "X", "<", ">", "h", "p", "d", "8", "H", "1", "2", "3", "4", "+", "x")
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
    "text.parse_math": False,  # names of methods and classes are no formulas
}
METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
    "svg": {"Date": None},
}


@dataclass(frozen=True)
class NamedFigure:
    """One figure of a table.

    Attributes:
        name: its files' name without suffix, such as ``desk-digits-accuracy``.
        figure: without a title; draw it by :func:`image` or :func:`inline_svg`, whatever the user's settings are.
        caption: what it shows, plain text of one paragraph.
        rows: the same in words or numbers, a header and one row each; empty if the table of the grid tells it.
    """

    name: str
    figure: "Figure"
    caption: str
    rows: tuple[tuple[str, ...], ...] = ()


def stem(*parts: str) -> str:
    """A name for files from those of a table, a data set, a method: what a file's name should not hold is a dash."""
    return re.sub(r"[^\w.]+", "-", "-".join(parts))


@contextmanager
def settings() -> Iterator[None]:
    """Matplotlib's defaults and ours inside the context, whatever the user's own are."""
    from matplotlib.style import context

    with context(["default", RC]):
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches that no global state knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(method: str, methods: Sequence[str] = ()) -> dict[str, Any]:
    """Colour, marker and line of a method, the same everywhere; ``methods`` are those of the table.

    A method without a place of its own gets one from its name, or the next one that the table's other such
    methods leave free.
    """
    places = {name: place for place, name in enumerate(METHOD_NAMES)}
    free = list(range(len(places), len(MARKERS)))
    for name in sorted({method, *methods} - METHOD_NAMES.keys()):
        free = free or list(range(len(METHOD_NAMES), len(MARKERS)))
        places[name] = free.pop(zlib.crc32(name.encode()) % len(free))
    place = places[method]
    marker = MARKERS[place % len(MARKERS)]
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": marker,
        "linestyle": LINES[place % len(LINES)],
        "markersize": 8 if marker == "*" else 5,
    }


def legend(
    axes: "Axes | Figure | SubFigure", handles: Sequence[Any], names: Sequence[str], title: str = "", **options: Any
) -> None:
    """A legend of these handles, beside the axes unless options tell; names may begin with an underscore."""
    options = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False, "handlelength": 3.4} | options
    made = axes.legend(handles, [str(place) for place in range(len(names))], title=title, **options)
    for text, name in zip(made.get_texts(), names, strict=True):  # matplotlib leaves out labels that begin with _
        text.set_text(name)


def method_names(methods: Sequence[str]) -> list[str]:
    """Methods as papers write them."""
    return [display_name(method) for method in methods]


def image(figure: "Figure", suffix: str) -> bytes:
    """The file of a figure as ``pdf``, ``png`` or ``svg``; the same figure always gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with settings(), matplotlib.rc_context({"svg.hashsalt": "cotune_bench"}):
        figure.savefig(buffer, format=suffix, metadata=METADATA[suffix])
    return buffer.getvalue()


def inline_svg(named: NamedFigure) -> str:
    """The ``<svg>`` element of a figure to put into a page, text as shapes; its ids begin with the figure's name."""
    text = image(named.figure, "svg").decode()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{named.name}-", text)


def floats(values: Sequence[float | None]) -> tuple[float, ...]:
    """NaN for None."""
    return tuple(math.nan if value is None else value for value in values)
