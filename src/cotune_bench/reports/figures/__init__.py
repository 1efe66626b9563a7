"""All figures of a table, in order, and their files; the same runs always give the same bytes.

``figures, left_out = grid_figures(grid, results)``, then :func:`write_figures` for files; for a page
:func:`inline_svg` of each, its ``caption`` and, where it has any, its ``rows``.
"""

from collections.abc import Sequence
from pathlib import Path

from cotune_bench.reports.figures.base import WIDTH, NamedFigure, image, inline_svg, settings
from cotune_bench.reports.figures.calibration import calibration_figures
from cotune_bench.reports.figures.ranks import rank_figures
from cotune_bench.reports.figures.rates import accuracy_figures, gain_figures
from cotune_bench.reports.figures.relationship import relationship_figures
from cotune_bench.reports.figures.training import training_figures
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.tables import aligned, escaped
from cotune_bench.storage import calibration_file, relationship_file
from cotune_bench.storage.files import write_atomically

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
    results = Path(results)
    with settings():
        accuracy = accuracy_figures(grid, width)
        if not accuracy:
            return [], ["No figures: no run has finished yet."]
        gain, no_gain = gain_figures(grid, width)
        ranks, no_ranks = rank_figures(grid, width)
        figures, left_out = [*accuracy, *gain, *ranks], no_gain + no_ranks
        for draw, what, file in (
            (training_figures, "training curves", "metrics.csv"),
            (relationship_figures, "category relationship", relationship_file.FILE),
            (calibration_figures, "calibration", calibration_file.FILE),
        ):
            drawn, lacking = draw(grid, results, width)
            figures += drawn
            if lacking:
                left_out.append(f"No {what} of {', '.join(lacking)}: no folder of these runs holds a {file}.")
        for one in figures:  # laid out once for all formats
            one.figure.draw_without_rendering()
            one.figure.set_layout_engine("none")
    return figures, left_out


def write_figures(figures: Sequence[NamedFigure], folder: Path) -> list[Path]:
    """Write every figure as pdf and png, its rows as md, into ``folder``; their paths."""
    written = []
    for one in figures:
        contents = {suffix: image(one.figure, suffix) for suffix in ("pdf", "png")}
        if one.rows:
            table = aligned([[escaped(text) for text in row] for row in one.rows])
            contents["md"] = f"{escaped(one.caption)}\n\n{table}\n".encode()
        for suffix, content in contents.items():
            path = Path(folder) / f"{one.name}.{suffix}"
            write_atomically(path, content)
            written.append(path)
    return written
