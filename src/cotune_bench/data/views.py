"""Where a test image is cropped: the published test-time views, as numbers."""

import numpy as np
import torch
from torch import Tensor

from cotune_bench.errors import UserError


def crop_offsets(resize: int, crop: int, kind: str) -> np.ndarray:
    """Rows (x0, y0, flip) of a test view; x0, y0 in pixels of the image, which is mirrored first if flip is 1.

    Args:
        resize: side of the square image.
        crop: side of the square crop.
        kind: ``center`` one crop; ``official10`` the ten crops of the Co-Tuning, BSS and Zoo-Tuning scripts,
            whose last offset is one pixel short of the border; ``torchvision10`` those of ``TenCrop``.
    """
    if not 0 < crop <= resize:
        raise UserError(f"crop={crop} does not fit resize={resize}: it must be above 0 and at most resize")
    last = resize - crop
    # Python rounds .5 to the even neighbour, as PIL and the published code do.
    if kind == "center":
        middle = round(last / 2)
        return np.array([(middle, middle, 0)])
    if kind == "official10":
        last, middle = max(last - 1, 0), round(max(last - 1, 0) / 2)
        corners = [(0, 0), (last, last), (last, 0), (0, last), (middle, middle)]
        return np.array([(x, y, flip) for flip in (1, 0) for x, y in corners])
    if kind == "torchvision10":
        middle = round(last / 2)
        corners = [(0, 0), (last, 0), (0, last), (last, last), (middle, middle)]
        return np.array([(x, y, flip) for flip in (0, 1) for x, y in corners])
    raise UserError(f"views={kind} is unknown: choose center, official10 or torchvision10")


def crop_views(images: Tensor, crop: int, offsets: np.ndarray) -> Tensor:
    """Crops (n, V, crop, crop, C) of square images (n, H, W, C), one per row of ``offsets``."""
    flipped = images.flip(2)
    return torch.stack(
        [(flipped if flip else images)[:, y : y + crop, x : x + crop] for x, y, flip in offsets], dim=1
    )
