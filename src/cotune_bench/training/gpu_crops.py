"""Training images that lie in a GPU's memory and are cropped there, a whole batch at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cotune_bench.backbones.precision import arithmetic
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.augment import TRIES, resized_crop_boxes
from cotune_bench.data.target import Batches, sent, staged

RATIO = (3 / 4, 4 / 3)  # aspects of the boxes, as on the host
CHUNK = 256  # images on the host at once while they are copied


@dataclass(frozen=True)
class ResidentBatches(Batches):
    """The batches of ``Batches`` with the same boxes and mirrors, within one grey level of the host's.

    Args:
        pixels: (N, H, W, C) uint8 on the device, the images in their order.
    """

    pixels: Tensor
    crop: int
    scale: tuple[float, float]
    flip: bool

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        positions = self.positions(step)
        # The numbers that the host's augmentation draws.
        draws = np.random.default_rng([self.seed, 1, step]).random((len(positions), 3 + 2 * TRIES))
        boxes = resized_crop_boxes(draws[:, :-1], *self.pixels.shape[1:3], scale=self.scale, ratio=RATIO)
        mirrored = (draws[:, -1] < 0.5) & self.flip
        device = self.normalize.device
        told = sent(staged(np.stack([positions, self.images.labels[positions], mirrored, *boxes.T]), device), device)
        rows, labels, mirror = told[:3]
        crops = resized_crops(self.pixels[rows], told[3:].T, mirror.bool(), self.crop)
        return self.normalize(crops), labels

    def stream(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of these steps in order."""
        yield from map(self, range(first, last))


def resident(batches: Batches, protocol: Protocol) -> Batches:
    """These batches from images on their device if it is a GPU half of whose free memory holds them, decoded."""
    pixels = batches.images.pixels
    device = batches.normalize.device
    if device.type != "cuda" or protocol.augment != "resized_crop" or not isinstance(pixels, np.ndarray):
        return batches
    free, _ = torch.cuda.mem_get_info(device)
    if len(batches.images) * pixels[0].nbytes > free / 2:
        return batches
    return on_device(batches, protocol)


def on_device(batches: Batches, protocol: Protocol) -> ResidentBatches:
    """These batches from images copied to their device."""
    images, device = batches.images, batches.normalize.device
    pixels = torch.empty((len(images), *images.pixels.shape[1:]), dtype=torch.uint8, device=device)
    for rows in np.array_split(np.arange(len(images)), len(images) // CHUNK + 1):
        pixels[rows[0] : rows[-1] + 1] = torch.from_numpy(images.take(rows))
    values = {name: getattr(batches, name) for name in ("images", "batch_size", "seed", "augment", "normalize")}
    return ResidentBatches(**values, pixels=pixels, crop=protocol.crop, scale=protocol.scale, flip=protocol.flip)


def resized_crops(images: Tensor, boxes: Tensor, mirrored: Tensor, crop: int) -> Tensor:
    """Boxes of images as squares (B, crop, crop, C) of whole grey levels in float32.

    Bilinear with antialiasing, as PIL does: first along rows, then along columns, each as a product with a
    matrix of weights.

    Args:
        images: (B, H, W, C) uint8.
        boxes: (B, 4) top, left, height, width in pixels.
        mirrored: (B,) bool, which to mirror left to right.
    """
    count, height, width, channels = images.shape
    top, left, rows, columns = boxes.unbind(dim=1)
    down = antialias_weights(top, rows, height, crop)
    across = antialias_weights(left, columns, width, crop)
    across = torch.where(mirrored[:, None, None], across.flip(1), across)
    with arithmetic("fp32"):
        narrow = (across @ images.transpose(1, 2).flatten(2).float()).view(count, crop, height, channels)
        crops = (down @ narrow.transpose(1, 2).flatten(2)).add_(0.5).floor_()
    return crops.view(count, crop, crop, channels)


def antialias_weights(start: Tensor, size: Tensor, length: int, crop: int) -> Tensor:
    """(B, crop, length) weights of source pixels in each pixel of a resized interval: a triangle, rows summing to 1.

    Args:
        start, size: (B,) the intervals, inside 0..length.
    """
    start, size = start[:, None, None].float(), size[:, None, None].float()
    scale = size / crop
    centers = start + (torch.arange(crop, device=start.device)[:, None] + 0.5) * scale
    pixels = torch.arange(length, device=start.device) + 0.5
    weights = (1 - (pixels - centers).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixels > start) & (pixels < start + size))
    return weights / weights.sum(dim=2, keepdim=True)
