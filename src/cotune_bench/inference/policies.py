"""Which blocks the images of a test set use in their trained form."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cotune_bench.backbones.base import evaluating
from cotune_bench.backbones.precision import arithmetic
from cotune_bench.data.target import Views
from cotune_bench.methods.base import Method
from cotune_bench.storage.escape import csv_lines

SHOWN, SIDE = 10, 64  # images in a row of the sheet; pixels that one has at least, about


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

    @property
    def agreement(self) -> np.ndarray:
        """(N,) in [0, 1]: 1 for an image that chooses for every block what all images do on average."""
        return 1 - np.abs(self.shares - self.shares.mean(axis=0)).mean(axis=1)

    def sheet(self, images: Views) -> bytes:
        """A PNG of test images: above those that agree most with all others, below those that agree least."""
        order = np.argsort(-self.agreement, kind="stable")
        rows = [order[:SHOWN], order[::-1][:SHOWN]]
        frame = ((1, 1), (1, 1), (0, 0))
        parts = [[np.pad(one, frame, constant_values=128) for one in images.images.take(row)] for row in rows]
        sheet = np.concatenate([np.concatenate(part, axis=1) for part in parts])
        picture = Image.fromarray(sheet.squeeze())
        scale = max(1, SIDE // len(sheet) * 2)
        buffer = io.BytesIO()
        picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(buffer, "png")
        return buffer.getvalue()

    def texts(self, classes: Sequence[str]) -> dict[str, str]:
        """``policy.csv``, mean shares of all images and by class, and ``policy_images.csv``, a row for each image."""
        labels = np.unique(self.labels)
        parts = [("all", self.shares), *((classes[label], self.shares[self.labels == label]) for label in labels)]
        means = [[name, len(part), *part.mean(axis=0)] for name, part in parts]
        names = [classes[label] for label in self.labels]
        images = zip(range(len(names)), names, self.agreement, *self.shares.T, strict=True)
        return {
            "policy.csv": _csv(["class", "images", *self.blocks], means),
            "policy_images.csv": _csv(["image", "class", "agreement", *self.blocks], images),
        }


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    shown = [[f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows]
    return csv_lines([header, *shown])


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
