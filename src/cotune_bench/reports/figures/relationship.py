"""The category relationship as a heat map, and in the paper's words as its rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cotune_bench.reports.figures.base import NamedFigure, new_figure, stem
from cotune_bench.reports.figures.runs import contents
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.tables import display_name, display_rate
from cotune_bench.storage import relationship_file
from cotune_bench.storage.relationship_file import Share, in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TARGETS, SOURCES = 20, 40  # classes in a heat map, at most
TOP = 3  # source classes told of each target class
ROW = 0.17  # inches for a target class


def relationship_figures(grid: Grid, results: Path, width: float) -> tuple[list[NamedFigure], list[str]]:
    """One for each data set and method whose runs left a relationship, and the data sets that have none."""
    found, lacking = contents(grid, results, relationship_file.FILE, relationship_file.from_csv)
    return [_named(grid, cell, told, width) for cell, told in found if told], lacking


def _named(grid: Grid, cell: Cell, told: dict[str, list[Share]], width: float) -> NamedFigure:
    shown = spaced(list(told), TARGETS)
    columns = sources({name: told[name] for name in shown})
    shown_of = "all" if len(shown) == len(told) else f"{len(shown)} (evenly spaced) of"
    text = (
        f"Category relationship p(source | target) that {display_name(cell.method)} learnt on {cell.data} at a "
        f"sampling rate of {display_rate(cell.rate)}: {shown_of} {len(told)} target classes, and the {len(columns)} "
        "source classes that are largest for them, in percent; each row sums to 100 over all source classes."
    )
    rows = (("Target class", "Source classes"), *((name, in_words(told[name], TOP)) for name in told))
    figure = draw({name: told[name] for name in shown}, columns, width)
    return NamedFigure(stem(grid.spec.name, cell.data, cell.method, "relationship"), figure, text, rows)


def spaced(names: list[str], count: int) -> list[str]:
    """At most ``count`` of the names, evenly spaced, with the first and the last."""
    places = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return [names[int(place)] for place in places]


def sources(told: dict[str, list[Share]]) -> list[Share]:
    """The largest source classes of all target classes, as many as fit; each beside the target that it fits best."""
    top = max(1, min(TOP, SOURCES // len(told)))
    best: dict[int, tuple[float, int, Share]] = {}
    for place, row in enumerate(told.values()):
        for share in row[:top]:
            if share.percent > best.get(share.number, (0.0,))[0]:
                best[share.number] = (share.percent, place, share)
    return [share for _, _, share in sorted(best.values(), key=lambda one: (one[1], -one[0], one[2].number))]


def draw(told: dict[str, list[Share]], columns: Sequence[Share], width: float) -> "Figure":
    """Target classes down, source classes across, shares in percent: white is 0."""
    places = {share.number: place for place, share in enumerate(columns)}
    values = np.zeros((len(told), len(columns)))
    for row, found in zip(values, told.values(), strict=True):
        for share in found:
            if share.number in places:
                row[places[share.number]] = share.percent
    names = max(len(_short(share.source)) for share in columns)
    figure = new_figure(width, ROW * len(told) + 0.06 * names + 0.9)
    axes = figure.add_subplot()
    picture = axes.imshow(values, cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(told)), [_short(name) for name in told], fontsize=7)
    upright = 0 if names <= 2 else 90
    axes.set_xticks(range(len(columns)), [_short(share.source) for share in columns], rotation=upright, fontsize=7)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    axes.set_ylabel("Target class")
    axes.set_xlabel("Source class")
    figure.colorbar(picture, ax=axes, label="Share (%)", pad=0.02, shrink=0.9)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
