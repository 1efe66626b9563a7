"""Any data set given by lists of files and labels, such as those of TLlib."""

from pathlib import Path

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import image_list, labelled, lines, missing
from cotune_bench.errors import UserError

REMEDY = "set data.root and the lists, which are relative to it"


def read(
    name: str,
    root: str,
    train: str,
    test: str,
    val: str | None = None,
    classes: str | None = None,
    sampled: bool = True,
    rate: float = 1.0,
) -> ImageList:
    """Images of lists whose lines are ``<file> <label>``, labels from 0; lists and files are relative to ``root``.

    With ``sampled`` the training list is the sample: ``{rate}`` in its name becomes the rate in percent, and no
    image is left out. Without, it is the whole training set, from which ``rate`` is sampled. ``classes`` is a file
    with one name in each line; without it, names are numbers.
    """
    home = Path(root).expanduser()
    if sampled and rate != 1 and "{rate}" not in train:
        raise UserError(
            f"data.train={train} is the same list at every rate: write {{rate}} into its name, "
            f"or set data.sampled=false to sample it at rate={rate:g}"
        )
    if not sampled and "{rate}" in train:
        raise UserError(
            f"data.train={train} is a sample, which data.sampled=false would sample again: set it to true"
        )
    files = {"train": train.replace("{rate}", f"{100 * rate:g}"), "val": val, "test": test}
    parts = {}
    for part, file in files.items():
        if file is not None and not (home / file).is_file():
            raise missing(name, home / file, REMEDY)
        parts[part] = None if file is None else labelled(name, home / file)
    kinds = {label for members in parts.values() for _, label in members or ()}
    names = lines(name, home / classes) if classes else [str(label) for label in range(len(kinds))]
    return image_list(name, home, names, **parts, sampled=sampled, upright=True)


READER = Reader(read)
