"""All figures of a table, in order, and their files; the same runs always give the same bytes."""

from collections.abc import Sequence
from pathlib import Path

from cotune_bench.reports.figures.base import NamedFigure, image, inline_svg, settings
from cotune_bench.reports.figures.calibration import calibration_figures
from cotune_bench.reports.figures.pareto import pareto_figures
from cotune_bench.reports.figures.ranks import rank_figures
from cotune_bench.reports.figures.rates import accuracy_figures
from cotune_bench.reports.figures.relationship import relationship_figures
from cotune_bench.reports.figures.routing import GATES, POLICY, gate_figures, policy_figures
from cotune_bench.reports.figures.training import training_figures
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.tables import aligned
from cotune_bench.storage import calibration_file, relationship_file
from cotune_bench.storage.escape import markdown
from cotune_bench.storage.files import write_atomically

__all__ = ["NamedFigure", "grid_figures", "image", "inline_svg", "write_figures"]

#: Figures from files in run folders.
OF_RUNS = (
    (training_figures, "training curves", "metrics.csv"),
    (relationship_figures, "category relationship", relationship_file.FILE),
    (calibration_figures, "calibration", calibration_file.FILE),
    (policy_figures, "policy", POLICY),
    (gate_figures, "gates", GATES),
)


def grid_figures(grid: Grid, results: Path) -> tuple[list[NamedFigure], list[str]]:
    """Every figure that the runs of a grid allow, and a sentence for each kind that is missing, and why.

    Accuracy, accuracy against time, training curves, category relationship, calibration, policy and gates of every
    data set, and the ranks of all methods. Reads records and run folders below ``results`` for what the grid does not
    hold.
    """
    if not grid.runs():
        return [], ["No figures: no run has finished yet."]
    with settings():
        ranks, left_out = rank_figures(grid)
        figures = [*accuracy_figures(grid), *pareto_figures(grid), *ranks]
        for draw, kind, file in OF_RUNS:
            drawn, lacking = draw(grid, results)
            figures += drawn
            if lacking:
                left_out.append(f"No {kind} of {', '.join(lacking)}: no folder of these runs holds a {file}.")
        for one in figures:  # laid out once for all formats
            one.figure.draw_without_rendering()
            one.figure.set_layout_engine("none")
    return figures, left_out


def write_figures(figures: Sequence[NamedFigure], folder: Path) -> list[Path]:
    """Write every figure as pdf and png, its rows as md, into ``folder``; their paths."""
    contents = {}
    for one in figures:
        contents |= {folder / f"{one.name}.{suffix}": image(one.figure, suffix) for suffix in ("pdf", "png")}
        if one.rows:
            table = aligned([[markdown(text) for text in row] for row in one.rows])
            contents[folder / f"{one.name}.md"] = f"{markdown(one.caption)}\n\n{table}\n".encode()
    for path, content in contents.items():
        write_atomically(path, content)
    return list(contents)
