"""Oxford Flowers-102 (Nilsback and Zisserman, 2008)."""

import numpy as np

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import Part, image_list, matlab, require
from cotune_bench.errors import UserError

HOMES = (".", "flowers-102", "flowers102", "102flowers")


def read(name: str, root: str) -> ImageList:
    """The official archive and its two .mat files; the official train and val images together are for training.

    The classes are called 1 to 102, because the archive does not name them (2,040 training images as in SpotTune,
    Guo et al., 2019).
    """
    home = require(name, root, HOMES, "imagelabels.mat")
    labels = matlab(name, home / "imagelabels.mat", "labels")
    parts: dict[str, Part] = {}
    for part in ("trnid", "valid", "tstid"):
        numbers = matlab(name, home / "setid.mat", part)
        if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= len(labels):
            raise UserError(
                f"data {name}: {part} of {home / 'setid.mat'} leaves 1..{len(labels)}: get the file again"
            )
        parts[part] = [(f"jpg/image_{number:05d}.jpg", int(labels[number - 1]) - 1) for number in numbers]
    classes = [str(number) for number in range(1, int(np.max(labels)) + 1)]
    return image_list(name, home, classes, train=parts["trnid"] + parts["valid"], test=parts["tstid"])


READER = Reader(read, official={"classes": 102, "train": 2040, "test": 6149})
