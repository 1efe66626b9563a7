"""A kept network in Python: pixels or files to probabilities, and files for other programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cotune_bench.data.dataset import Dataset
from cotune_bench.errors import UserError, suggest
from cotune_bench.inference.execution import devices
from cotune_bench.inference.export import FORMATS, export
from cotune_bench.inference.kept_network import Kept
from cotune_bench.inference.predict import Predictor, predict_files
from cotune_bench.storage.find_run import Run
from cotune_bench.storage.summary import Summary

Input = np.ndarray | str | Path | Sequence[str | Path]


@dataclass(frozen=True, repr=False)
class Network(Summary):
    """A kept network: of ``Fitted.save``, or of a run of the command line."""

    kept: Kept
    predictor: Predictor

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes, in the order of the outputs."""
        return self.kept.classes

    def predict(self, images: Input) -> np.ndarray:
        """As :func:`probabilities`."""
        return probabilities(self.predictor, images)

    def export(self, to: str, path: str | Path) -> list[str]:
        """Write it for other programs: ``state_dict``, ``torch_export`` or ``onnx``; gives the lines that load it.

        Raises:
            UserError: the format is unknown or not for this network.
        """
        if to not in FORMATS:
            raise UserError(f"format {to} is unknown: {suggest(to, FORMATS)}")
        return export(self.kept, to, Path(path).expanduser())

    def summary(self) -> dict[str, object]:
        """What ``repr`` shows."""
        card = self.kept.card
        return {
            "network": card["key"],
            "method": card["method"]["name"],
            "classes": len(self.classes),
            "test accuracy": f"{card['accuracy']:.2f} %",
            "folder": self.kept.folder,
        }


def load(folder: str | Path, *, device: str = "auto") -> Network:
    """The network that ``Fitted.save`` or a run wrote to this folder; nothing in it is executed.

    Raises:
        UserError: it is not there, or cannot be read.
    """
    kept = Kept.of(Run(str(folder), Path(folder).expanduser(), None))
    return Network(kept, Predictor.of(kept, devices(device)[0]))


def probabilities(predictor: Predictor, images: Input) -> np.ndarray:
    """Probabilities (N, K) of uint8 pixels (N, H, W, C) or (H, W, C), or of image files; one image gives one row.

    Raises:
        UserError: the pixels have another shape or type, or a file cannot be read.
    """
    if isinstance(images, str | Path):
        images = [images]
    if not isinstance(images, np.ndarray):
        return predict_files(predictor, [Path(file).expanduser() for file in images])[1].probabilities
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.dtype != np.uint8:
        raise UserError(f"images are {images.dtype} {images.shape}: give uint8 pixels (N, H, W, C), or files")
    rows, labels = np.arange(len(images)), np.zeros(len(images), np.int64)
    given = Dataset(name="images", pixels=images, labels=labels, classes=("",), test=rows)
    return predictor(given, rows).probabilities
