"""Readers of the photographs of clothes and groceries."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trees
from trees import refused

from cotune_bench.config import build, compose_config
from cotune_bench.data.prepare.run import SOURCES, check_data, prepare
from cotune_bench.data.readers import clothing, grocery


def put_clothing(root: Path) -> Path:
    """Two kinds of clothes: 2, 1 and 1 images of each in train, validation and test."""
    counts = {"train": 2, "validation": 1, "test": 1}
    return trees.folders(
        root, {f"{part}/{kind}": count for part, count in counts.items() for kind in ("hat", "t-shirt")}
    )


def put_grocery(root: Path) -> Path:
    """3 fine classes in 2 coarse ones: 4, 1 and 2 images in train, val and test; class 1 has no validation image."""
    home = root / "dataset"
    parts = {"train": (0, 0, 1, 2), "val": (2,), "test": (1, 2)}
    for part, labels in parts.items():
        files = [f"{part}/Fruit/{label}/{number}.jpg" for number, label in enumerate(labels)]
        for file in files:
            trees.put_image(home / file)
        trees.put_lines(
            home / f"{part}.txt", [f"{f}, {label}, {label // 2}" for f, label in zip(files, labels, strict=True)]
        )
    names = ("Gala,0,Apple,0", "Granny-Smith,1,Apple,0", "Banana,2,Banana,1")
    trees.put_lines(
        home / "classes.csv", ["Class Name (str),Class ID (int),...", *(f"{name},a.jpg,b.txt" for name in names)]
    )
    return root


@pytest.mark.parametrize("root", [".", "clothing-dataset-small"])
def test_clothing(tmp_path, root):
    put_clothing(tmp_path / root)
    data = clothing.read("clothing", str(tmp_path), "split")
    assert data.classes == ("hat", "t-shirt")
    assert (len(data.train), data.val, len(data.test)) == (6, None, 2)
    held = clothing.read("clothing", str(tmp_path), "official")
    assert held.val is not None
    assert (len(held.train), len(held.val), len(held.test)) == (4, 2, 2)
    assert held.files == data.files
    refused(lambda: clothing.read("clothing", str(tmp_path), "val"), "data.validation=val", "official or split")
    refused(lambda: clothing.read("clothing", str(tmp_path / "none"), "split"), "is missing", "prepare-data clothing")


@pytest.mark.parametrize(
    ("labels", "classes", "train"),
    [("fine", ("Gala", "Granny-Smith", "Banana"), [0, 0, 1, 2]), ("coarse", ("Apple", "Banana"), [0, 0, 0, 1])],
)
def test_grocery(tmp_path, labels, classes, train):
    put_grocery(tmp_path / "GroceryStoreDataset")
    data = grocery.read("grocery", str(tmp_path), labels, "official")
    assert data.classes == classes
    assert data.labels[data.train].tolist() == train
    assert data.val is not None
    assert (len(data.val), len(data.test)) == (1, 2)
    assert data.files[0] == "train/Fruit/0/0.jpg"
    assert len(grocery.read("grocery", str(tmp_path), labels, "split").train) == 5


def test_grocery_damaged(tmp_path):
    home = put_grocery(tmp_path) / "dataset"
    refused(lambda: grocery.read("grocery", str(tmp_path), "both", "split"), "data.labels=both", "fine or coarse")
    trees.put_lines(home / "val.txt", ["val/Fruit/2/0.jpg, 2"])
    refused(lambda: grocery.read("grocery", str(tmp_path), "fine", "split"), "val.txt", "'<file>, <label>, <label>'")
    (home / "val.txt").unlink()
    refused(lambda: grocery.read("grocery", str(tmp_path), "fine", "split"), "val.txt is missing")


@pytest.mark.parametrize(
    ("name", "put", "inside"),
    [
        ("clothing", put_clothing, SOURCES["clothing"][0].holds),
        ("grocery", put_grocery, "GroceryStoreDataset-fc80ba90f803d79d0383df52c5a4ac5de99ff6fc"),
    ],
)
def test_an_archive_in_the_folder_of_its_data_set_is_unpacked_there(
    tmp_path, monkeypatch, name: str, put: Callable[[Path], Path], inside: str
):
    (source,) = SOURCES[name]
    monkeypatch.setitem(SOURCES, name, (replace(source, lists={}),))
    (tmp_path / "data" / name).mkdir(parents=True)
    put(tmp_path / "packed" / inside)
    archive = tmp_path / "data" / name / source.file
    shutil.make_archive(str(archive.with_suffix("")), "zip", tmp_path / "packed")
    config = compose_config([f"data={name}", f"data_root={tmp_path / 'data'}"])
    assert prepare(name, config)
    assert len(build(config.data).train) > 4


@pytest.mark.photos
@pytest.mark.parametrize("name", ["clothing", "grocery"])
def test_the_photographs_are_complete(name):
    config = compose_config([f"data={name}"])
    if not Path(config.data.root).is_dir():
        pytest.skip(f"{config.data.root} is not there: cotune-bench prepare-data {name}")
    assert check_data(name, config) == 0
