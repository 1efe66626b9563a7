"""Clothing, the small version: photographs of ten kinds of clothes (Alexey Grigorev and others, 2020, CC0)."""

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import require, with_validation
from cotune_bench.data.readers.folder import read_split

ARCHIVE = "clothing-dataset-small"
HOMES = (".", ARCHIVE, f"{ARCHIVE}-master", f"{ARCHIVE}-11961516512414bf9f6c150a832cfd21b54a6b54")


def read(name: str, root: str, validation: str) -> ImageList:
    """One folder per class below train/, validation/ and test/; ``validation`` as :func:`with_validation` has it."""
    home = require(name, root, HOMES, "train", "validation", "test")
    return with_validation(read_split(name, home), validation)


#: With validation=split, which is the default.
READER = Reader(read, official={"classes": 10, "train": 3409, "test": 372})
