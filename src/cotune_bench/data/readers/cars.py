"""Stanford Cars: makes, models and years (Krause et al., 2013)."""

from pathlib import Path

import numpy as np

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import Part, find, image_list, lines, matlab, missing
from cotune_bench.data.readers.folder import read_split

HOMES = (".", "stanford_cars", "car_data/car_data", "car_data")
DEVKITS = ("devkit", ".", "car_devkit/devkit", "car_devkit", "stanford-cars-dataset-meta/devkit")
#: The 196 names in the order of cars_meta.mat, for copies that come without it.
NAMES = Path(__file__).with_name("cars_classes.txt")


def read(name: str, root: str) -> ImageList:
    """Images and devkit, also nested as on Kaggle; or car_ims/ with cars_annos.mat; or one folder per class."""
    for home in (Path(root, folder) for folder in HOMES):
        if devkit := find(home, DEVKITS, "cars_train_annos.mat"):
            return _with_devkit(name, home, devkit)
    if home := find(root, HOMES, "car_ims", "cars_annos.mat"):
        return _single_archive(name, home)
    if home := find(root, HOMES, "train", "test"):
        return read_split(name, home, lines(name, NAMES))
    raise missing(name, Path(root, "devkit", "cars_train_annos.mat"))


def _with_devkit(name: str, home: Path, devkit: Path) -> ImageList:
    train = matlab(name, devkit / "cars_train_annos.mat", "annotations")
    test = matlab(name, _test_labels(name, home, devkit), "annotations")
    meta = devkit / "cars_meta.mat"
    classes = matlab(name, meta, "class_names").tolist() if meta.is_file() else lines(name, NAMES)
    return image_list(
        name,
        home,
        classes,
        train=_part(train, f"{_folder(home, 'cars_train')}/", "fname"),
        test=_part(test, f"{_folder(home, 'cars_test')}/", "fname"),
    )


def _test_labels(name: str, home: Path, devkit: Path) -> Path:
    for folder in (home, devkit, devkit.parent):
        for path in sorted(folder.glob("cars_test_annos_withlabels*.mat")):  # "... (1).mat" on Kaggle
            return path
    bare = devkit / "cars_test_annos.mat"
    if bare.is_file() and "class" in (matlab(name, bare, "annotations").dtype.names or ()):
        return bare
    wanted = home / "cars_test_annos_withlabels.mat"
    raise missing(name, wanted, "the devkit has no labels of the test images; docs/data/cars.md says where they are")


def _folder(home: Path, part: str) -> str:
    return f"{part}/{part}" if (home / part / part).is_dir() else part


def _single_archive(name: str, home: Path) -> ImageList:
    annotations = matlab(name, home / "cars_annos.mat", "annotations")
    classes = matlab(name, home / "cars_annos.mat", "class_names").tolist()
    tests = np.array([bool(annotation["test"]) for annotation in annotations])
    train, test = (_part(annotations[rows], "", "relative_im_path") for rows in (~tests, tests))
    return image_list(name, home, classes, train=train, test=test)


def _part(annotations: np.ndarray, prefix: str, field: str) -> Part:
    return [(prefix + str(annotation[field]), int(annotation["class"]) - 1) for annotation in annotations]


READER = Reader(read, official={"classes": 196, "train": 8144, "test": 8041})
