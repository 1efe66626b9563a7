"""A contact sheet of the images that a network is most sure of and wrong about."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cotune_bench.reports.figures.base import WIDTH, new_figure, settings, shortened
from cotune_bench.storage.escape import plain

MOST, ACROSS, SIDE, LONGEST = 20, 5, 96, 16  # images, columns, pixels of a side, characters of a name


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
