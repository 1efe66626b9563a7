"""COCO-70: 1,000 object crops of each of 70 COCO classes (Co-Tuning, You et al., 2020)."""

from pathlib import Path

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import Part, find, image_list, labelled, lines, missing
from cotune_bench.data.readers.folder import read_split
from cotune_bench.errors import UserError

HOMES = (".", "COCO70", "coco70")
#: COCO's 80 classes in order without parking meter, frisbee, snowboard, sports ball, baseball glove, mouse, toaster,
#: scissors, hair drier and toothbrush; for copies that come without classes.txt.
NAMES = Path(__file__).with_name("coco70_classes.txt")


def read(name: str, root: str) -> ImageList:
    """The authors' release, whose dev images validate; TLlib's copy, which has none; or one folder per class.

    Raises:
        UserError: the folder holds a rebuilt COCO-70 and ``name`` does not say so.
    """
    if name == "coco70" and find(root, HOMES, "rebuilt.json"):
        raise UserError(f"data coco70: {root} was rebuilt from COCO, it is not the published one: use coco70-rebuilt")
    if home := find(root, HOMES, "train.txt"):
        classes = lines(name, home / "classes.txt")
        train, dev, test = (_part(name, home, part) for part in ("train", "dev", "test"))
        return image_list(name, home, classes, train=train, val=dev, test=test)
    if home := find(root, HOMES, "image_list/train_100.txt"):
        train, test = (labelled(name, home / "image_list" / f"{part}.txt") for part in ("train_100", "test"))
        return image_list(name, home, lines(name, NAMES), train=train, test=test)
    if home := find(root, HOMES, "train", "test"):
        return read_split(name, home, lines(name, NAMES))
    raise missing(name, Path(root, "train.txt"))


def _part(name: str, home: Path, part: str) -> Part:
    """Files of a list below its own folder, whether or not the list names that folder."""
    images = labelled(name, home / f"{part}.txt")
    # Not line by line: train/ is also the folder of a class.
    prefix = "" if all(file.startswith(f"{part}/") for file, _ in images) else f"{part}/"
    return [(prefix + file, label) for file, label in images]


READER = Reader(read, official={"classes": 70, "train": 56_000, "val": 7_000, "test": 7_000})
