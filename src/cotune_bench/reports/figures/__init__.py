"""All figures of a table, in order, and their files; the same runs always give the same bytes.

For a page: ``figures, left_out = grid_figures(grid, results)``, then :func:`inline_svg` of each, its ``caption`` and,
where it has any, its ``rows``.
"""

from pathlib import Path

from cotune_bench.files import write_atomically
from cotune_bench.reports.figures.base import WIDTH, NamedFigure, image, inline_svg, settings
from cotune_bench.reports.figures.rates import accuracy_figures, gain_figures
from cotune_bench.reports.grid import Grid

__all__ = ["NamedFigure", "grid_figures", "image", "inline_svg", "write_figures"]


def grid_figures(grid: Grid, results: Path, *, width: float = WIDTH) -> tuple[list[NamedFigure], list[str]]:
    """Every figure that the runs of a grid allow, in order, and a sentence for each kind that is left out, and why.

    Accuracy, gain, training curves, category relationship and calibration, each for every data set, and the ranks of
    all methods. Reads ``results/runs`` for what records do not hold.

    Args:
        grid: of a table.
        results: the folder that its runs were written to.
        width: of a figure in inches.
    """
    with settings():
        return [*accuracy_figures(grid, width), *gain_figures(grid, width)], []


def write_figures(grid: Grid, results: Path, folder: Path, *, width: float = WIDTH) -> tuple[list[Path], list[str]]:
    """Write ``<name>.pdf`` and ``<name>.png`` of every figure into ``folder``; their paths, and what is left out."""
    figures, left_out = grid_figures(grid, results, width=width)
    written = []
    for one in figures:
        for suffix in ("pdf", "png"):
            path = Path(folder) / f"{one.name}.{suffix}"
            write_atomically(path, image(one.figure, suffix))
            written.append(path)
    return written, left_out
