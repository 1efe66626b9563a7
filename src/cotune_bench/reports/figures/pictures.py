"""Figures with photographs: the mistakes of a network, and a category relationship."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from cotune_bench.reports.figures.base import WIDTH, new_figure, settings, shortened
from cotune_bench.storage.escape import plain
from cotune_bench.storage.relationship_file import Share, in_words

MOST, ACROSS, SIDE, LONGEST = 20, 5, 96, 16  # mistakes, columns, pixels of a side, characters of a name
WIDE, ROW = 7.2, 0.62  # inches; of the figure of a relationship and of a class
PHOTO = 160  # pixels of a side
SHADES = ("#08519C", "#3182BD", "#6BAED6", "#9ECAE1", "#C6DBEF")


def mistakes_figure(
    pictures: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Figure | None:
    """Each image with its true class and, below, the predicted one and its probability; None without mistakes.

    Args:
        pictures: (n, H, W, C) uint8.
        labels: (n,) true classes.
        probabilities: (n, K).
        classes: names of the K classes.
    """
    if not len(pictures):
        return None
    with settings():
        down = -(-len(pictures) // ACROSS)
        figure = new_figure(WIDTH, 1.55 * down)
        cells = np.atleast_1d(figure.subplots(down, ACROSS)).ravel()
        for cell in cells:
            cell.axis("off")
        for cell, picture, label, row in zip(cells, pictures, labels, probabilities, strict=False):
            chosen = int(row.argmax())
            cell.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255)
            true, predicted = (shortened(plain(classes[number]), LONGEST) for number in (label, chosen))
            cell.set_title(f"{true}\n→ {predicted} {100 * row[chosen]:.0f} %", fontsize=6)
    return figure


def relationship_pictures(rows: Sequence[tuple[str, Sequence[Share], Path | None]]) -> Figure:
    """For each class its name, its largest source classes as a bar of shades and in words; the rest stays white.

    Args:
        rows: name of a target class, its shares of source classes, largest first, and the file of one of its images;
            None for pixels without a file.
    """
    photographs = any(photograph for _, _, photograph in rows)
    with settings():
        figure = new_figure(WIDE, ROW * len(rows) + 0.15)
        grid = figure.add_gridspec(len(rows), 2, width_ratios=(ROW, WIDE - ROW) if photographs else (1e-3, 1))
        for number, (target, shares, photograph) in enumerate(rows):
            if photograph:
                axes = figure.add_subplot(grid[number, 0])
                with Image.open(photograph) as image:
                    axes.imshow(ImageOps.fit(image.convert("RGB"), (PHOTO, PHOTO)))
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
