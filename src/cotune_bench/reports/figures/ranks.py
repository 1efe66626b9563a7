"""Average ranks with Nemenyi's critical difference."""

from cotune_bench.reports.figures.base import WIDTH, Figure, NamedFigure, new_figure, stem, style
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.ranks import Ranks, grid_ranks
from cotune_bench.reports.statistics import LEVEL
from cotune_bench.reports.tables import display_name

ROW = 0.24  # inches for a method
BAR = "#555555"


def rank_figures(grid: Grid) -> tuple[list[NamedFigure], list[str]]:
    """One figure over all data sets, or a sentence that says why there is no figure."""
    ranks = grid_ranks(grid)
    if isinstance(ranks, str):
        return [], [ranks]
    found = zip(map(display_name, ranks.methods), ranks.ranks, strict=True)
    rows = (("Method", "Average rank"), *((name, f"{rank:.2f}") for name, rank in found))
    return [NamedFigure(stem(grid.spec.name, "ranks"), draw(ranks), _caption(ranks), rows)], []


def draw(ranks: Ranks) -> Figure:
    """Methods from top to bottom by average rank; a bar at the right joins those that may be equally good."""
    count, groups, best = len(ranks.methods), ranks.groups(), ranks.ranks[0]
    figure = new_figure(WIDTH, ROW * (count + 1) + 0.75)
    axes = figure.add_subplot()
    for place, (method, rank) in enumerate(zip(ranks.methods, ranks.ranks, strict=True)):
        axes.plot([1, rank], [place, place], color="#BBBBBB", linewidth=0.8, zorder=1)
        axes.plot(rank, place, **style(method, ranks.methods) | {"linestyle": "", "clip_on": False, "zorder": 3})
    for number, (first, last) in enumerate(groups):
        right = count + 0.25 + 0.15 * number
        axes.plot([right, right], [first - 0.3, last + 0.3], color=BAR, linewidth=2.5, solid_capstyle="butt")
    axes.plot([best, best + ranks.critical], [-0.9, -0.9], color=BAR, linewidth=1.2, marker="|", markersize=7)
    middle = best + ranks.critical / 2
    axes.text(middle, -1.1, f"critical difference {ranks.critical:.2f}", ha="center", va="bottom", fontsize=8)
    axes.set_yticks(range(count), [display_name(method) for method in ranks.methods])
    axes.set_ylim(count - 0.4, -1.6)
    axes.set_xlim(0.85, max(count + 0.25 + 0.15 * len(groups), best + ranks.critical + 0.1))
    axes.set_xticks(range(1, count + 1))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Average rank (1 is best)")
    return figure


def _caption(ranks: Ranks) -> str:
    test = (
        f"Friedman's test: chi-square {ranks.statistic:.2f}, p = {ranks.p:.2g}."
        if ranks.statistic is not None and ranks.p is not None
        else "All methods are tied in every data set."
    )
    asked = "" if ranks.columns == ranks.asked else f"of {ranks.asked} "
    return (
        f"Average rank over {ranks.columns} {asked}data sets, each with its mean accuracy over sampling rates and "
        f"replicates. {test} Methods joined by a bar at the right differ by less than Nemenyi's critical difference "
        f"{ranks.critical:.2f} at the {100 * LEVEL:g} % level. The chi-square approximation is rough for few data "
        "sets, which are also no random sample of all there are."
    )
