"""WikiArt with the lists of Tan et al. (ICIP 2016): paintings by style, artist or genre."""

from pathlib import Path

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import image_list, keyed, labelled, missing, require
from cotune_bench.errors import UserError

OFFICIAL = {
    "style": {"classes": 27, "train": 57_025, "test": 24_421},
    "artist": {"classes": 23, "train": 13_346, "test": 5_706},
    "genre": {"classes": 10, "train": 45_503, "test": 19_492},
}
HOMES = (".", "wikiart", "wikiart/wikiart")


def read(name: str, root: str, labels: str) -> ImageList:
    """The list ``<labels>_train.csv`` trains, ``<labels>_val.csv`` is for test.

    Lists are beside the folders of styles, in ``wikiart_csv/`` or in a folder of their own, in either case. The
    195 classes of SpotTune (Guo et al., 2019) are another split, which was not published.
    """
    if labels not in OFFICIAL:
        raise UserError(f"data.labels={labels} is unknown: choose {', '.join(OFFICIAL)}")
    home = require(name, root, HOMES, "Impressionism")
    paths = {part: _list(name, root, home, f"{labels}_{part}") for part in ("class.txt", "train.csv", "val.csv")}
    classes = dict(keyed(name, paths["class.txt"]))
    try:
        names = [classes[str(number)] for number in range(len(classes))]
    except KeyError as error:
        raise UserError(f"data {name}: {paths['class.txt']} has no class {error}: get it again") from error
    train, test = labelled(name, paths["train.csv"]), labelled(name, paths["val.csv"])
    return image_list(name, home, names, train=train, test=test)


def _list(name: str, root: str, home: Path, file: str) -> Path:
    """Where the list of this name is, in capitals or not."""
    for folder in (home, Path(root)):
        for path in (*sorted(folder.glob("*.*")), *sorted(folder.glob("wikiart_csv/**/*.*"))):
            if path.name.lower() == file:
                return path
    raise missing(name, home / "wikiart_csv" / file)


#: With labels=style, which is the default.
READER = Reader(read, official=OFFICIAL["style"], others=OFFICIAL)
