"""What a reader gives, and what a run makes of it: the contracts of the data path."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cotune_bench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Labels, class names and official split of a data set; its images come as files or as pixels.

    Attributes:
        name: as in ``data=NAME``.
        labels: (N,) int64, 0-based.
        classes: the K class names, in label order.
        train, test: indices of the official split; ``val`` where there is an official one, else None.
        sampled: True where ``train`` is the sample already, so that the sampling rate is not applied again.
    """

    name: str
    labels: np.ndarray
    classes: tuple[str, ...]
    train: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    test: np.ndarray
    val: np.ndarray | None = None
    sampled: bool = False

    def __post_init__(self) -> None:
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise UserError(f"data {self.name}: a label is outside 0..{len(self.classes) - 1}")
        parts = [part for part in (self.train, self.val, self.test) if part is not None]
        index = np.concatenate(parts)
        if len(index) and not 0 <= index.min() <= index.max() < len(self.labels):
            raise UserError(f"data {self.name}: the split names an image outside 0..{len(self.labels) - 1}")
        if len(np.unique(index)) < len(index):
            raise UserError(f"data {self.name}: an image is in two parts of the split, or twice in one")


@dataclass(frozen=True, kw_only=True)
class ImageList(Labelled):
    """A data set as image files.

    Attributes:
        root: the folder that ``files`` are relative to.
        files: N paths relative to ``root``, with forward slashes.
        upright: turn every image as its EXIF tag asks, before anything else; never so in published data sets.
        crop_bottom: rows of pixels to cut off below every image.
        strays: files beside them that are no images by their endings.
        unreadable: image files that cannot be read and were left out.
    """

    root: Path
    files: tuple[str, ...]
    upright: bool = False
    crop_bottom: int = 0
    strays: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.files) != len(self.labels):
            raise UserError(f"data {self.name}: {len(self.files)} files but {len(self.labels)} labels")


@dataclass(frozen=True, kw_only=True)
class Dataset(Labelled):
    """A data set as pixels.

    Attributes:
        pixels: (N, H, W, C) uint8 array; may be a memory map.
        content: hash of the files and settings that define the pixels, filled in by ``decode``.
    """

    pixels: np.ndarray
    content: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.pixels) != len(self.labels):
            raise UserError(f"data {self.name}: {len(self.pixels)} images but {len(self.labels)} labels")


@dataclass(frozen=True)
class Reader:
    """How a data set is read, and what is published of it: every reader's module holds one as ``READER``.

    Attributes:
        read: the data set from the values of its yaml; UserError where its files are missing or wrong.
        official: numbers of ``classes`` and of images in ``train``, ``val`` and ``test``; empty if unpublished.
        others: the same for values of ``data.labels``.
        arrange: makes what ``read`` expects from the published files below a folder; None where those are it.
    """

    read: Callable[..., "ImageList | Dataset"]
    official: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    arrange: Callable[[Path], None] | None = None

    def numbers(self, section: Mapping) -> dict[str, int]:
        """The official numbers of a data set with the settings of its section of the configuration."""
        return dict(self.others.get(section.get("labels", ""), self.official))


@dataclass(frozen=True)
class Images:
    """Some images of a data set, in a fixed order.

    Attributes:
        pixels: (N, H, W, C) uint8 array of the whole data set; read by ``index`` only.
        index: (n,) rows of ``pixels`` that belong here.
        labels: (n,) int64.
    """

    pixels: np.ndarray
    index: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Pixels (len(positions), H, W, C) of the images at these positions."""
        return self.pixels[self.index[positions]]

    def fingerprint(self) -> str:
        """Hex SHA-256 of which images these are, in their order, and of their labels."""
        content = hashlib.sha256(np.ascontiguousarray(self.index, dtype=np.int64).tobytes())
        content.update(np.ascontiguousarray(self.labels, dtype=np.int64).tobytes())
        return content.hexdigest()


def images_of(dataset: Dataset, index: np.ndarray) -> Images:
    """The images of ``dataset`` with these indices, in that order."""
    return Images(dataset.pixels, index, dataset.labels[index])
