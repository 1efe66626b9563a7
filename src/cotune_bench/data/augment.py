"""Random changes to training images; every draw is a function of (seed, step, position) and nothing else."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

Augment = Callable[[np.ndarray | Sequence[np.ndarray], np.random.Generator], np.ndarray]
Boxes = Callable[[np.ndarray, int, int], np.ndarray]

#: Of torchvision's RandomResizedCrop: tries for a box inside the image, and its aspects (width / height).
TRIES, RATIO = 10, (3 / 4, 4 / 3)


def make_augment(
    kind: str,
    *,
    crop: int,
    shift: int,
    flip: bool,
    scale: tuple[float, float] = (0.08, 1.0),
) -> Augment:
    """The augmentation of a protocol: from square images (B, H, W, C) to network inputs (B, crop, crop, C).

    Args:
        kind: ``none`` the centre; ``shift`` a random window of the image padded by ``shift`` pixels;
            ``resized_crop`` a random box of area ``scale`` and an aspect from 3/4 to 4/3, resized; of images of
            several sizes, given as a sequence of (H, W, C), by PIL.
        flip: mirror an image with probability 1/2.
    """
    boxes = partial(resized_crop_boxes, scale=scale, ratio=RATIO)
    kinds: dict[str, tuple[Callable[..., np.ndarray], int]] = {
        "none": (partial(_center, crop=crop), 2),
        "shift": (partial(_shifted, crop=crop, shift=shift), 2),
        "resized_crop": (partial(_resized, crop=crop, boxes=boxes), 2 + 2 * TRIES),
    }
    crops, columns = kinds[kind]

    def augment(images: np.ndarray | Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        # One row of numbers for each position, as long whatever happens: row i never depends on the batch size.
        draws = rng.random((len(images), columns + 1))
        cropped = crops(images, draws[:, :-1])
        if flip:
            pixels = torch.from_numpy(cropped)
            for row in np.flatnonzero(draws[:, -1] < 0.5).tolist():  # numpy copies mirrored pixels much more slowly
                pixels[row] = pixels[row].flip(1)
        return cropped

    return augment


def _center(images: np.ndarray, _draws: np.ndarray, *, crop: int) -> np.ndarray:
    top, left = (round((side - crop) / 2) for side in images.shape[1:3])
    return images[:, top : top + crop, left : left + crop].copy()


def _shifted(images: np.ndarray, draws: np.ndarray, *, crop: int, shift: int) -> np.ndarray:
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    rows, columns = padded.shape[1:3]
    top = (draws[:, 0] * (rows - crop + 1)).astype(np.int64)
    left = (draws[:, 1] * (columns - crop + 1)).astype(np.int64)
    return np.stack([image[y : y + crop, x : x + crop] for image, y, x in zip(padded, top, left, strict=True)])


def _resized(images: np.ndarray | Sequence[np.ndarray], draws: np.ndarray, *, crop: int, boxes: Boxes) -> np.ndarray:
    if not isinstance(images, np.ndarray):
        cut = partial(_resized_original, crop=crop, boxes=boxes)
        with ThreadPoolExecutor() as pool:  # PIL resizes outside of Python's lock
            return np.stack(list(pool.map(cut, images, draws)))
    count, height, width, channels = images.shape
    source = torch.from_numpy(images).permute(0, 3, 1, 2)
    out = torch.empty((count, crop, crop, channels), dtype=torch.uint8).permute(0, 3, 1, 2)
    for row, (top, left, rows, columns) in enumerate(boxes(draws, height, width).tolist()):
        # A slice of one image keeps the strides by which torch knows the bytes of a pixel as neighbours: 2.5 x.
        box = source[row : row + 1, :, top : top + rows, left : left + columns]
        out[row : row + 1] = interpolate(box, (crop, crop), mode="bilinear", antialias=True)
    return out.permute(0, 2, 3, 1).numpy()


def _resized_original(pixels: np.ndarray, draws: np.ndarray, *, crop: int, boxes: Boxes) -> np.ndarray:
    height, width, channels = pixels.shape
    ((top, left, rows, columns),) = boxes(draws[None], height, width).tolist()
    box = pixels[top : top + rows, left : left + columns]
    image = Image.fromarray(np.ascontiguousarray(box[..., 0] if channels == 1 else box))
    return np.array(image.resize((crop, crop), Image.Resampling.BILINEAR)).reshape(crop, crop, channels)


def resized_crop_boxes(
    draws: np.ndarray, height: int, width: int, *, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    """Boxes (n, 4) of whole pixels (top, left, height, width) inside an image, by the rule of ``RandomResizedCrop``.

    The area is uniform in ``scale`` times the image's, the aspect (width / height) log-uniform in ``ratio``; the
    first of the tries that fits is taken, else the largest central box of an allowed aspect.

    Args:
        draws: (n, 2 + 2 t) numbers in [0, 1): top, left, then t areas and t aspects.
    """
    areas, aspects = np.split(draws[:, 2:], 2, axis=1)
    areas = height * width * (scale[0] + (scale[1] - scale[0]) * areas)
    low, high = np.log(ratio)
    aspects = np.exp(low + (high - low) * aspects)
    columns, rows = np.rint(np.sqrt(areas * aspects)), np.rint(np.sqrt(areas / aspects))
    fits = (columns > 0) & (columns <= width) & (rows > 0) & (rows <= height)
    first = np.arange(len(draws)), fits.argmax(axis=1)
    rows, columns = rows[first], columns[first]
    top, left = np.floor(draws[:, 0] * (height - rows + 1)), np.floor(draws[:, 1] * (width - columns + 1))
    boxes = np.stack([top, left, rows, columns], axis=1).astype(np.int64)
    boxes[~fits.any(axis=1)] = _largest_box(height, width, ratio)
    return boxes


def _largest_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    rows, columns = height, width
    if width / height < ratio[0]:
        rows = round(width / ratio[0])
    elif width / height > ratio[1]:
        columns = round(height * ratio[1])
    return (height - rows) // 2, (width - columns) // 2, rows, columns
