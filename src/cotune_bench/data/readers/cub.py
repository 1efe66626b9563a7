"""CUB-200-2011: birds (Wah et al., 2011)."""

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import Part, find, image_list, keyed, require
from cotune_bench.data.readers.folder import read_split
from cotune_bench.errors import UserError

HOMES = (".", "CUB_200_2011", "CUB_200_2011/CUB_200_2011")


def read(name: str, root: str) -> ImageList:
    """The official archive with its split, or one folder per class below train/ and test/."""
    if not find(root, HOMES, "images.txt") and (folders := find(root, HOMES, "train", "test")):
        return read_split(name, folders)
    home = require(name, root, HOMES, "images.txt")
    label = dict(keyed(name, home / "image_class_labels.txt"))
    trains = dict(keyed(name, home / "train_test_split.txt"))
    classes = [kind for _, kind in keyed(name, home / "classes.txt")]
    parts: dict[str, Part] = {"1": [], "0": []}
    for number, file in keyed(name, home / "images.txt"):
        try:
            parts[trains[number]].append((f"images/{file}", int(label[number]) - 1))
        except (KeyError, ValueError) as error:
            raise UserError(
                f"data {name}: image {number} of {home / 'images.txt'} has no label or no part in the split: "
                "extract the archive again"
            ) from error
    return image_list(name, home, classes, train=parts["1"], test=parts["0"])


READER = Reader(read, official={"classes": 200, "train": 5994, "test": 5794})
