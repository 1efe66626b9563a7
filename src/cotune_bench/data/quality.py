"""What there is to know of one's own images before a network is trained on them, a line for each finding."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from cotune_bench.config import build
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.readers.common import require_files
from cotune_bench.data.scan import MOST_BITS, Looks, look, near_identical
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache

#: A class with fewer images for training and validation is named.
TINY = 10
#: So many times as many images in the largest class as in the smallest are named.
UNEVEN = 10
SHOWN = 5  # of what a line names before it only counts


def report(config: DictConfig) -> list[str]:
    """The data set in a line, another if files are turned, then a warning for each thing that is wrong.

    Raises:
        UserError: files cannot be read, and ``data.skip_bad`` is not set.
    """
    images = build(config.data)
    require_files(images)
    looks = look(images.root, images.files, Cache(Path(config.cache)))
    require_readable(images, looks)
    wrong = [*left_out(images), *balance(images), *alike(images, looks)]
    return [summary(images), *turned(images, looks), *(f"warning: {line}" for line in wrong)]


def summary(images: ImageList) -> str:
    """Name, folder and size of a data set."""
    val = "" if images.val is None else f"{len(images.val):,} validation and "
    return (
        f"data {images.name}: {images.root}, {len(images.classes)} classes, {len(images.train):,} training, {val}"
        f"{len(images.test):,} test images; " + _sizes(images)
    )


def _sizes(images: ImageList) -> str:
    counts = class_counts(images)
    return f"{counts.min()} to {counts.max()} training images in a class (median {np.median(counts):g})"


def class_counts(images: ImageList) -> np.ndarray:
    """(K,) training images of each class, those that validate among them where none are set aside."""
    return np.bincount(images.labels[images.train], minlength=len(images.classes))


def require_readable(images: ImageList, looks: Looks) -> None:
    """UserError that names the files which cannot be read."""
    bad = [f"{images.files[row]} ({looks.reasons[row]})" for row in np.flatnonzero(looks.reasons != "")]
    if bad:
        remedy = "remove or replace them, or leave them out with data.skip_bad=true (data=folder)"
        raise UserError(f"data {images.name}: {_some(bad, 'file')} cannot be read: {remedy}")


def left_out(images: ImageList) -> list[str]:
    """Files that are no images by their endings, and those that ``data.skip_bad`` left out."""
    told = []
    if images.strays:
        told.append(f"left out, no images by their endings: {_some(images.strays, 'file')}")
    if images.unreadable:
        told.append(f"left out, cannot be read: {_some(images.unreadable, 'file')}")
    return told


def turned(images: ImageList, looks: Looks) -> list[str]:
    """Files that are not seen as they are stored."""
    files = [images.files[row] for row in np.flatnonzero(looks.orientations != 1)]
    return [f"data {images.name}: turned upright, as EXIF asks: {_some(files, 'file')}"] if files else []


def balance(images: ImageList) -> list[str]:
    """Classes with very few training images, and with very unequal numbers."""
    counts, told = class_counts(images), []
    tiny = [f"{images.classes[k]} ({counts[k]})" for k in np.argsort(counts, kind="stable") if counts[k] < TINY]
    if tiny:
        told.append(f"fewer than {TINY} training images: {_some(tiny, 'class')}; their accuracy will be a guess")
    if counts.min() and counts.max() >= UNEVEN * counts.min():
        large, small = (images.classes[k] for k in (counts.argmax(), counts.argmin()))
        ratio = counts.max() / counts.min()
        told.append(
            f"uneven classes: {large} has {ratio:.0f} times the images of {small}; accuracy follows the large"
        )
    return told


def alike(images: ImageList, looks: Looks) -> list[str]:
    """Pairs of near-identical images of which one trains, or validates, and the other tests."""
    pool = images.train if images.val is None else np.concatenate([images.train, images.val])
    pairs = near_identical(looks, pool, images.test)
    if not pairs:
        return []
    same = sum(_same(images, a, b) for a, b in pairs)
    names = [f"{images.files[a]} ~ {images.files[b]}" for a, b in pairs]
    return [
        f"near-identical images in train and test (difference hash, at most {MOST_BITS} of 64 bits apart; "
        f"{same} of them the same file): {_some(names, 'pair')}; look at them: copies make test accuracy too high"
    ]


def _same(images: ImageList, first: int, second: int) -> bool:
    a, b = (images.root / images.files[row] for row in (first, second))
    return a.stat().st_size == b.stat().st_size and a.read_bytes() == b.read_bytes()


def _some(names: Sequence[str], noun: str) -> str:
    plural = noun + ("" if len(names) == 1 else "es" if noun.endswith("s") else "s")
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {plural} ({', '.join(names[:SHOWN])}{more})"
