"""FGVC-Aircraft 2013b: aircraft variants (Maji et al., 2013)."""

from pathlib import Path

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import Part, find, image_list, keyed, lines, require
from cotune_bench.data.readers.folder import read_split
from cotune_bench.errors import UserError

HOMES = (".", "data", "fgvc-aircraft-2013b/data", "fgvc-aircraft-2013b")
BANNER = 20  # rows with the photographer's name, says the archive's README


def read(name: str, root: str, crop_banner: bool = False) -> ImageList:
    """The official archive, or one folder per class; the official train and val images together are for training.

    ``crop_banner`` cuts the copyright line below every image, as the archive's README asks for; the code of the
    Co-Tuning paper does not.
    """
    crop = BANNER if crop_banner else 0
    if not find(root, HOMES, "variants.txt") and (folders := find(root, HOMES, "train", "test")):
        return read_split(name, folders, crop_bottom=crop)
    home = require(name, root, HOMES, "variants.txt")
    classes = lines(name, home / "variants.txt")
    parts = ["trainval"] if (home / "images_variant_trainval.txt").is_file() else ["train", "val"]
    train = [image for part in parts for image in _part(name, home, part, classes)]
    return image_list(name, home, classes, train=train, test=_part(name, home, "test", classes), crop_bottom=crop)


def _part(name: str, home: Path, part: str, classes: list[str]) -> Part:
    label = {variant: number for number, variant in enumerate(classes)}
    path = home / f"images_variant_{part}.txt"
    images = []
    for number, variant in keyed(name, path):
        if variant not in label:
            raise UserError(f"data {name}: {path} names the variant {variant!r}, which variants.txt does not hold")
        images.append((f"images/{number}.jpg", label[variant]))
    return images


READER = Reader(read, official={"classes": 100, "train": 6667, "test": 3333})
