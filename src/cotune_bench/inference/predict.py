"""Images to probabilities, through a trained method and the preprocessing of its test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cotune_bench.data.dataset import Dataset, ImageList, Images
from cotune_bench.data.decode import Squares
from cotune_bench.data.scan import look
from cotune_bench.data.target import Normalize, Views
from cotune_bench.data.views import crop_offsets
from cotune_bench.errors import UserError, some
from cotune_bench.inference.evaluate import predict
from cotune_bench.inference.kept_network import Kept
from cotune_bench.methods.base import Method


@dataclass(frozen=True)
class Predicted:
    """What a network says of n images.

    Attributes:
        logits: (n, K), summed over the views as in the record's scores.
        probabilities: (n, K), softmax of the logits' mean over the views.
        source: (n, S), likewise of the source head; None without one.
    """

    logits: Tensor
    probabilities: np.ndarray
    source: np.ndarray | None = None


class Predictor:
    """A trained method behind the preprocessing of its run's test images.

    Args:
        method: on its device, in its precision and memory layout.
        seen: of :func:`~cotune_bench.inference.kept_network.preprocessing`.
        views: crops of every image, as a protocol names them; None: those of the run's test.
        explain: ask the source head, too, which cotuning trains.

    Raises:
        UserError: there is no source head to ask.
    """

    def __init__(
        self,
        method: Method,
        seen: Mapping[str, Any],
        device: torch.device,
        *,
        views: str | None = None,
        explain: bool = False,
    ) -> None:
        self.method, self.input = method, seen
        self.normalize = Normalize(seen["mean"], seen["std"], device)
        self.offsets = crop_offsets(seen["resize"], seen["crop"], views or seen["views"])
        self.source_head = getattr(method, "source_head", None) if explain else None
        if explain and self.source_head is None:
            raise UserError(f"method {type(method).__name__} trains no source head: --explain is for cotuning")

    @classmethod
    def of(cls, kept: Kept, device: torch.device, *, views: str | None = None, explain: bool = False) -> "Predictor":
        """That of a kept network, which computes as its run did."""
        return cls(kept.method().to(device), kept.card["input"], device, views=views, explain=explain)

    def __call__(self, images: ImageList | Dataset, rows: np.ndarray) -> Predicted:
        """Outputs for these rows of a data set; files are turned upright if those of the run's test were."""
        seen = self.input
        if isinstance(images, ImageList):
            images = replace(images, upright=seen["upright"])
        pixels: Any = Squares(images, seen["resize"], seen["resize_filter"], seen["resize_mode"])
        if len(self.normalize.scale) == 1:
            pixels = Grey(pixels)
        taken = Images(pixels, rows, images.labels[rows])
        outputs = predict(self.method, Views(taken, seen["crop"], self.offsets, self.normalize), self._ask)
        target, source = outputs.tensor_split([self.method.task.num_classes], dim=1)
        return Predicted(target, self._softmax(target), self._softmax(source) if self.source_head else None)

    def _ask(self, images: Tensor) -> Tensor:
        """Logits (B, K), or (B, K + S) with those of the source head."""
        if self.source_head is None:
            return self.method.predict(images)
        features = self.method.features(images)
        return torch.cat([self.method.head(features), self.source_head(features)], dim=1)

    def _softmax(self, summed: Tensor) -> np.ndarray:
        return torch.softmax(summed.double() / len(self.offsets), dim=1).numpy()


@dataclass(frozen=True)
class Grey:
    """Square images of which a network with one input channel sees the brightness."""

    pixels: Any

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """(len(index), H, W, 1), uint8, as PIL's ``convert("L")``."""
        taken = self.pixels[index]
        if taken.shape[3] == 1:
            return taken
        return np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in taken])[..., None]


def predict_labelled(
    predictor: Predictor, images: ImageList | Dataset, *, skip_bad: bool = False
) -> tuple[Predicted, np.ndarray, list[str]]:
    """What the network says of a data set's test images, their rows (n,), and a line for each unreadable file.

    Raises:
        UserError: as in :func:`predict_files`.
    """
    rows, bad = _readable(images, skip_bad)
    return predictor(images, rows), rows, bad


def surest_mistakes(predicted: Predicted, labels: np.ndarray, most: int) -> np.ndarray:
    """Places of the wrong predictions among n images, the most probable first."""
    chosen = predicted.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(chosen != labels)
    return wrong[np.argsort(-predicted.probabilities[wrong, chosen[wrong]], kind="stable")][:most]


def thumbnails(images: ImageList | Dataset, rows: np.ndarray, side: int) -> np.ndarray:
    """(len(rows), side, side, C) uint8 pixels of these images, for people."""
    return Squares(images, side, "bicubic")[rows]


def predict_files(
    predictor: Predictor, files: Sequence[Path], *, skip_bad: bool = False
) -> tuple[list[Path], Predicted, list[str]]:
    """The files that could be read, what the network says of them, and a line for each that could not.

    Raises:
        UserError: a file cannot be read and ``skip_bad`` is False, or none can; all of them are counted.
    """
    images = ImageList(
        name="images",
        root=Path(),
        files=tuple(map(str, files)),
        labels=np.zeros(len(files), np.int64),
        classes=("unknown",),
        test=np.arange(len(files)),
        crop_bottom=predictor.input["crop_bottom"],
    )
    rows, bad = _readable(images, skip_bad)
    return [files[row] for row in rows], predictor(images, rows), bad


def _readable(images: ImageList | Dataset, skip_bad: bool) -> tuple[np.ndarray, list[str]]:
    """Rows of the test images that can be read, and a line for each that cannot."""
    if isinstance(images, Dataset):
        return images.test, []
    files = [images.files[row] for row in images.test]
    reasons = look(images.root, files, None).reasons
    bad = [f"{images.root / file}: {reason}" for file, reason in zip(files, reasons, strict=True) if reason]
    if bad and not (skip_bad and len(bad) < len(files)):
        good = len(bad) < len(files)
        remedy = "leave them out, as --skip-bad does" if good else "there is nothing else to predict"
        named = some(bad, between="; ")
        raise UserError(f"{len(bad)} of {len(files)} files are no readable images ({named}): {remedy}")
    return images.test[reasons == ""], bad
