"""Checks on a user's images before training, one line per finding."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from cotune_bench.config import build
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.readers.common import require_files
from cotune_bench.data.scan import MOST_BITS, Looks, look, near_identical
from cotune_bench.errors import UserError, count
from cotune_bench.storage.cache import Cache

TINY = 10  # training images; a warning names classes with fewer
UNEVEN = 10  # ratio of the largest class to the smallest from which a warning names them
SHOWN = 5  # names in a line


def report(config: DictConfig) -> list[str]:
    """A line about the data set, another if files are turned upright, then a warning for each problem.

    Raises:
        UserError: files cannot be read, and ``data.skip_bad`` is not set.
    """
    images = build(config.data)
    require_files(images)
    looks = look(images.root, images.files, Cache(Path(config.cache)))
    if bad := [f"{file} ({why})" for file, why in zip(images.files, looks.reasons, strict=True) if why]:
        remedy = "remove or replace them, or leave them out with data.skip_bad=true (data=folder)"
        raise UserError(f"data {images.name}: {_some(bad, 'file')} cannot be read: {remedy}")
    counts = np.bincount(images.labels[images.train], minlength=len(images.classes))
    val = "" if images.val is None else f"{len(images.val):,} validation and "
    uneven = f"{counts.min()} to {counts.max()} training images in a class (median {np.median(counts):g})"
    each = f"{count(counts.min(), 'training image')} in each class" if counts.min() == counts.max() else uneven
    lines = [
        f"data {images.name}: {images.root}, {len(images.classes)} classes, {len(images.train):,} training, {val}"
        f"{count(len(images.test), 'test image')}; {each}"
    ]
    if turned := [images.files[row] for row in np.flatnonzero(looks.orientations != 1)]:
        lines.append(f"data {images.name}: turned upright, as EXIF asks: {_some(turned, 'file')}")
    for text, files in (("no images by their endings", images.strays), ("cannot be read", images.unreadable)):
        if files:
            lines.append(f"warning: left out, {text}: {_some(files, 'file')}")
    return lines + [f"warning: {line}" for line in [*_balance(images.classes, counts), *_duplicates(images, looks)]]


def _balance(classes: Sequence[str], counts: np.ndarray) -> list[str]:
    """Classes with very few training images, and with very unequal numbers (K,)."""
    order, lines = sorted(zip(counts.tolist(), classes, strict=True), key=lambda one: one[0]), []
    if tiny := [f"{name} ({count})" for count, name in order if count < TINY]:
        lines.append(f"fewer than {TINY} training images: {_some(tiny, 'class')}; their accuracy will be a guess")
    (least, small), (most, large) = order[0], order[-1]
    if least and most >= UNEVEN * least:
        times = f"{most / least:.0f} times the images of"
        lines.append(f"uneven classes: {large} has {times} {small}; accuracy follows the large")
    return lines


def _duplicates(images: ImageList, looks: Looks) -> list[str]:
    """Pairs of near-identical images, one for training or validation and one for the test."""
    pool = images.train if images.val is None else np.concatenate([images.train, images.val])
    pairs = [(images.files[a], images.files[b]) for a, b in near_identical(looks, pool, images.test)]
    if not pairs:
        return []
    same = sum((images.root / a).read_bytes() == (images.root / b).read_bytes() for a, b in pairs)
    return [
        f"near-identical images in train and test (difference hash, at most {MOST_BITS} of 64 bits apart; "
        f"{same} of them the same file): {_some([f'{a} ~ {b}' for a, b in pairs], 'pair')}; look at them: copies "
        "make test accuracy too high"
    ]


def _some(names: Sequence[str], noun: str) -> str:
    plural = noun + ("" if len(names) == 1 else "es" if noun.endswith("s") else "s")
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {plural} ({', '.join(names[:SHOWN])}{more})"
