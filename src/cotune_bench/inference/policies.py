"""Which blocks the images of a test set use in their trained form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotune_bench.backbones.base import evaluating
from cotune_bench.backbones.precision import arithmetic
from cotune_bench.data.target import Views
from cotune_bench.methods.base import Method
from cotune_bench.storage.escape import csv_lines


@dataclass(frozen=True)
class Policies:
    """What a method chose.

    Attributes:
        blocks: names of the n residual blocks.
        shares: (N, n) share of an image's views that use the trained block.
        labels: (N,) int64.
    """

    blocks: tuple[str, ...]
    shares: np.ndarray
    labels: np.ndarray

    @property
    def tuned_blocks(self) -> float:
        """Mean number of trained blocks that an image uses."""
        return float(self.shares.sum(axis=1).mean())

    def texts(self, classes: Sequence[str]) -> dict[str, str]:
        """``policy.csv``, mean shares of all images and by class, and ``policy_images.csv``, a row for each image."""
        labels = np.unique(self.labels)
        parts = [("all", self.shares), *((classes[label], self.shares[self.labels == label]) for label in labels)]
        return {
            "policy.csv": _csv(
                ["class", "images", *self.blocks], [[name, len(part), *part.mean(axis=0)] for name, part in parts]
            ),
            "policy_images.csv": _csv(
                ["image", "class", *self.blocks],
                [[place, classes[self.labels[place]], *row] for place, row in enumerate(self.shares)],
            ),
        }


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return csv_lines(
        [header, *([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)]
    )


def policies_of(method: Method, images: Views) -> Policies | None:
    """What a trained method chooses for these images; None where it chooses nothing."""
    found: list[np.ndarray] = []
    names: tuple[str, ...] = ()
    with evaluating(method), arithmetic(method.precision):
        for views in images:
            chosen = method.policies(views.flatten(0, 1))
            if not chosen:
                return None
            names = tuple(chosen)
            shares = np.stack([one.double().cpu().numpy() for one in chosen.values()], axis=1)
            found.append(shares.reshape(*views.shape[:2], -1).mean(axis=1))
    return Policies(names, np.concatenate(found), images.labels)
