"""EuroSAT, its RGB version: land use from the Sentinel-2 satellites (Helber et al., 2019)."""

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import require
from cotune_bench.data.readers.folder import scan, split_by_class
from cotune_bench.errors import UserError

OFFICIAL = {"classes": 10, "train": 21_600, "test": 5_400}
HOMES = (".", "2750", "eurosat/2750", "EuroSAT/2750", "EuroSAT_RGB", "EuroSAT", "eurosat")


def read(name: str, root: str) -> ImageList:
    """Ten class folders; no split is official: 20 % of each class, drawn by seed 0 once and for all, are for test."""
    home = require(name, root, HOMES, "AnnualCrop", expected="2750/AnnualCrop")
    members = scan(name, home)
    if len(members) != OFFICIAL["classes"]:
        raise UserError(f"data {name}: {home} holds {len(members)} class folders instead of 10: extract it again")
    return split_by_class(name, home, members, test_share=0.2, seed=0)


READER = Reader(read, official=OFFICIAL)
