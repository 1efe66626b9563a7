"""MIT Indoor-67: rooms (Quattoni and Torralba, 2009)."""

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import find, image_list, lines, require
from cotune_bench.errors import UserError

HOMES = (".", "indoorCVPR_09", "indoorCVPR_09/indoorCVPR_09")


def read(name: str, root: str) -> ImageList:
    """The official archive with the two published lists beside Images/, or one folder above it.

    The lists number no classes: labels follow the alphabet.
    """
    home = require(name, root, HOMES, "Images")
    files: dict[str, list[str]] = {}
    for part in ("Train", "Test"):
        beside = find(home, (".", "..", "../.."), f"{part}Images.txt") or home
        files[part] = lines(name, beside / f"{part}Images.txt")
        stray = next((file for file in files[part] if file.count("/") != 1), None)
        if stray:
            raise UserError(f"data {name}: {part}Images.txt has the line {stray!r} instead of '<room>/<file>'")
    classes = sorted({file.partition("/")[0] for part in files.values() for file in part})
    label = {room: number for number, room in enumerate(classes)}
    parts = {part: [(f"Images/{file}", label[file.partition("/")[0]]) for file in files[part]] for part in files}
    return image_list(name, home, classes, train=parts["Train"], test=parts["Test"])


READER = Reader(read, official={"classes": 67, "train": 5360, "test": 1340})
