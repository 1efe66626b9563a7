"""Images to probabilities, through a trained method and the preprocessing of its test images."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cotune_bench.data.dataset import Dataset, ImageList, Images
from cotune_bench.data.decode import Squashed, decode
from cotune_bench.data.target import Normalize, Views
from cotune_bench.data.views import crop_offsets
from cotune_bench.errors import UserError
from cotune_bench.inference.evaluate import predict
from cotune_bench.inference.kept_network import Kept
from cotune_bench.methods.base import Method

BATCH = 128  # files that are in memory at once


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
        seen: ``resize``, ``resize_mode``, ``resize_filter``, ``crop``, ``views`` of the protocol, and of image files
            ``upright`` and ``crop_bottom``.
        normalize: of the network's inputs, on the method's device.
        views: crops of every image, as a protocol names them; None: those of the run's test.
        explain: ask the source head, too, which cotuning trains.

    Raises:
        UserError: there is no source head to ask.
    """

    def __init__(
        self,
        method: Method,
        seen: Mapping[str, Any],
        normalize: Normalize,
        *,
        views: str | None = None,
        explain: bool = False,
    ) -> None:
        self.method, self.input, self.normalize = method, seen, normalize
        self.offsets = crop_offsets(seen["resize"], seen["crop"], views or seen["views"])
        self.source_head = getattr(method, "source_head", None)
        if explain and self.source_head is None:
            raise UserError(f"method {type(method).__name__} trains no source head: --explain is for cotuning")
        self.explain = explain

    @classmethod
    def of(cls, kept: Kept, device: torch.device, *, views: str | None = None, explain: bool = False) -> "Predictor":
        """That of a kept network, which computes as its run did."""
        seen = kept.card["input"]
        normalize = Normalize(seen["mean"], seen["std"], device)
        return cls(kept.method().to(device), seen, normalize, views=views, explain=explain)

    def squashed(self, images: ImageList | Dataset) -> Squashed:
        """The images as squares, read whenever they are asked for, and turned if those of the run's test were."""
        seen = self.input
        if isinstance(images, ImageList):
            images = replace(images, upright=seen["upright"])
        return Squashed(images, seen["resize"], seen["resize_filter"], os.cpu_count() or 1, seen["resize_mode"])

    def __call__(self, pixels: Any, index: np.ndarray) -> Predicted:
        """Outputs for these rows of square images (N, resize, resize, C), uint8."""
        if len(self.normalize.scale) == 1:
            pixels = Grey(pixels)
        images = Images(pixels, index, np.zeros(len(index), np.int64))
        outputs = predict(self.method, Views(images, self.input["crop"], self.offsets, self.normalize), self._ask)
        classes = self.method.task.num_classes
        target, source = outputs.split([classes, outputs.shape[1] - classes], dim=1)
        return Predicted(target, self._softmax(target), self._softmax(source) if source.shape[1] else None)

    def _ask(self, images: Tensor) -> Tensor:
        """Logits (B, K), or (B, K + S) with those of the source head."""
        if not self.explain or self.source_head is None:
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
        grey = [np.asarray(Image.fromarray(image).convert("L")) for image in taken]
        return np.stack(grey)[..., None]


def predict_files(
    predictor: Predictor, files: Sequence[Path], crop_bottom: int = 0, *, skip_bad: bool = False
) -> tuple[list[Path], Predicted, list[str]]:
    """The files that could be read, what the network says of them, and a line for each that could not.

    Raises:
        UserError: a file cannot be read and ``skip_bad`` is False, or none can; all of them are counted.
    """
    named = tuple(map(str, files))
    rows = np.arange(len(named))
    images = ImageList(
        name="images",
        root=Path(),
        files=named,
        labels=np.zeros(len(named), np.int64),
        classes=("unknown",),
        train=rows[:0],
        test=rows,
        crop_bottom=crop_bottom,
    )
    squashed = predictor.squashed(images)
    good: list[Path] = []
    bad: list[str] = []
    parts: list[Predicted] = []
    with ThreadPoolExecutor(squashed.workers) as pool:
        for start in range(0, len(named), BATCH):
            read = list(pool.map(lambda row: _read(squashed, row), rows[start : start + BATCH]))
            bad += [image for image in read if isinstance(image, str)]
            pixels = [image for image in read if not isinstance(image, str)]
            if pixels and (skip_bad or not bad):  # else they are only counted
                parts.append(predictor(np.stack(pixels), np.arange(len(pixels))))
            good += [file for file, image in zip(files[start:], read, strict=False) if not isinstance(image, str)]
    if bad and not (skip_bad and good):
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        remedy = "leave them out, as --skip-bad does" if good else "there is nothing else to predict"
        raise UserError(
            f"{len(bad)} of {len(named)} files are no readable images ({'; '.join(bad[:3])}{more}): {remedy}"
        )
    return good, joined(parts), bad


def _read(squashed: Squashed, row: int) -> np.ndarray | str:
    try:
        return squashed.read(row)
    except UserError as error:
        return str(error)


def joined(parts: Sequence[Predicted]) -> Predicted:
    """Several predictions, one after another."""
    sources = [part.source for part in parts if part.source is not None]
    return Predicted(
        torch.cat([part.logits for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate(sources) if sources else None,
    )


def predict_labelled(
    predictor: Predictor, images: ImageList | Dataset, *, skip_bad: bool = False
) -> tuple[Predicted, np.ndarray, list[str]]:
    """What the network says of a data set's test images, their labels (n,), and a line for each unreadable file.

    Raises:
        UserError: as in :func:`predict_files`.
    """
    if isinstance(images, Dataset):
        seen = predictor.input
        squares = decode(
            images,
            resize=seen["resize"],
            resize_filter=seen["resize_filter"],
            mode=seen["resize_mode"],
            folder=None,
        )
        return predictor(squares.pixels, images.test), images.labels[images.test], []
    label = {images.root / images.files[row]: images.labels[row] for row in images.test}
    good, predicted, bad = predict_files(predictor, list(label), images.crop_bottom, skip_bad=skip_bad)
    return predicted, np.array([label[file] for file in good]), bad
