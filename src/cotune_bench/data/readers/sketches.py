"""TU-Berlin's drawings: how people sketch 250 kinds of objects (Eitz, Hays and Alexa, 2012)."""

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import require
from cotune_bench.data.readers.folder import scan, split_by_class

HOMES = (".", "png", "sketches/png", "sketches_png/png", "sketches_png")


def read(name: str, root: str) -> ImageList:
    """Class folders; no split is official: 20 % of each class, drawn by seed 0 once and for all, are for test.

    SpotTune (Guo et al., 2019) has as many in each part and did not publish which.
    """
    home = require(name, root, HOMES, "airplane", expected="png/airplane")
    return split_by_class(name, home, scan(name, home), test_share=0.2, seed=0)


READER = Reader(read, official={"classes": 250, "train": 16_000, "test": 4_000})
