"""Random changes to training images; every draw is a function of (seed, step, position) and nothing else."""

from collections.abc import Callable

import numpy as np

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def make_augment(kind: str, *, crop: int, shift: int, flip: bool) -> Augment:
    """The augmentation of a protocol: from squashed images (B, H, W, C) to network inputs (B, crop, crop, C)."""
    crops = {"none": _center, "shift": _shifted}[kind]

    def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        # One row of numbers for each position, drawn whatever is switched on: row i never depends on the batch size.
        draws = rng.random((len(images), 3))
        cropped = crops(images, draws[:, :2], crop, shift)
        if flip:
            mirrored = draws[:, 2] < 0.5
            cropped[mirrored] = cropped[mirrored, :, ::-1]
        return cropped

    return augment


def _center(images: np.ndarray, _draws: np.ndarray, crop: int, _shift: int) -> np.ndarray:
    top, left = (round((side - crop) / 2) for side in images.shape[1:3])
    return images[:, top : top + crop, left : left + crop].copy()


def _shifted(images: np.ndarray, draws: np.ndarray, crop: int, shift: int) -> np.ndarray:
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    rows, columns = padded.shape[1:3]
    top = (draws[:, 0] * (rows - crop + 1)).astype(np.int64)
    left = (draws[:, 1] * (columns - crop + 1)).astype(np.int64)
    return np.stack([image[y : y + crop, x : x + crop] for image, y, x in zip(padded, top, left, strict=True)])
