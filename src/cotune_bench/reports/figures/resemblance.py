"""A category relationship in pictures: for each target class a photograph and its largest source classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from cotune_bench.reports.figures.base import new_figure, settings
from cotune_bench.storage.relationship_file import Share, in_words

WIDTH, ROW = 7.2, 0.62  # inches; of the figure and of a class
PHOTO = 160  # pixels of a side
SHADES = ("#08519C", "#3182BD", "#6BAED6", "#9ECAE1", "#C6DBEF")


def resemblance_figure(rows: Sequence[tuple[str, Sequence[Share], Path | None]]) -> Figure:
    """For each class its name, its largest source classes as a bar of shades and in words; the rest stays white.

    Args:
        rows: name of a target class, its shares of source classes, largest first, and the file of one of its images;
            None for pixels without a file.
    """
    photographs = any(photograph for _, _, photograph in rows)
    with settings():
        figure = new_figure(WIDTH, ROW * len(rows) + 0.15)
        grid = figure.add_gridspec(len(rows), 2, width_ratios=(ROW, WIDTH - ROW) if photographs else (1e-3, 1))
        for number, (target, shares, photograph) in enumerate(rows):
            if photograph:
                axes = figure.add_subplot(grid[number, 0])
                axes.imshow(_square(photograph))
                axes.axis("off")
            axes = figure.add_subplot(grid[number, 1], xlim=(0, 100), ylim=(0, 1))
            axes.axis("off")
            left = 0.0
            for share, shade in zip(shares, SHADES, strict=False):
                axes.barh(0.42, share.percent, 0.26, left=left, color=shade)
                left += share.percent
            axes.barh(0.42, 100, 0.26, color="none", edgecolor="#BBBBBB", linewidth=0.6)
            axes.text(0, 0.66, target, fontweight="bold", va="bottom")
            axes.text(0, 0.22, in_words(shares, len(SHADES)), fontsize=7, va="top")
    return figure


def _square(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (PHOTO, PHOTO)))
