"""Readers of the other public data sets, on small trees and on bad ones."""

import numpy as np
import pytest
import trees
from scipy.io import savemat
from trees import parts, refused

from cotune_bench.data.readers import cifar100, eurosat, flowers, indoors
from cotune_bench.data.readers.common import missing_files

# Flowers, rooms, land -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [".", "flowers-102"])
def test_flowers_merges_train_and_val(tmp_path, root):
    trees.flowers(tmp_path / "flowers-102")
    data = flowers.read("flowers", str(tmp_path / root))
    assert parts(data) == {
        "train": [(f"jpg/image_0000{n}.jpg", label) for n, label in [(1, 0), (4, 1), (2, 0), (5, 1)]],
        "test": [("jpg/image_00003.jpg", 0), ("jpg/image_00006.jpg", 1)],
    }
    assert data.classes == ("1", "2")
    assert not missing_files(data)
    savemat(tmp_path / "flowers-102" / "setid.mat", {"trnid": [[1, 4]], "valid": [[2]], "tstid": [[3]]})
    assert parts(flowers.read("flowers", str(tmp_path / root)))["test"] == [("jpg/image_00003.jpg", 0)]


@pytest.mark.parametrize(
    ("part", "numbers", "words"),
    [("tstid", [[3, 7]], "leaves 1..6"), ("tstid", [[]], "no test images"), ("x", 1, "trnid")],
)
def test_flowers_damaged_split(tmp_path, part, numbers, words):
    content = {"trnid": [[1, 4]], "valid": [[2, 5]], part: numbers}
    savemat(trees.flowers(tmp_path) / "setid.mat", content if part != "x" else {"x": 1})
    refused(lambda: flowers.read("flowers", str(tmp_path)), words)


@pytest.mark.parametrize("lists_above", [False, True])
def test_indoors(tmp_path, lists_above):
    trees.indoors(tmp_path / "indoorCVPR_09")
    if lists_above:
        for part in ("Train", "Test"):
            (tmp_path / "indoorCVPR_09" / f"{part}Images.txt").rename(tmp_path / f"{part}Images.txt")
    data = indoors.read("indoors", str(tmp_path))
    assert parts(data) == {
        "train": [("Images/attic/a 1.jpg", 0), ("Images/attic/a2.jpg", 0), ("Images/bar/b1.jpg", 1)],
        "test": [("Images/bar/b2.jpg", 1), ("Images/attic/a3.jpg", 0)],
    }
    assert data.classes == ("attic", "bar")
    assert not missing_files(data)


def test_indoors_missing_or_damaged_list(tmp_path):
    trees.put_lines(trees.indoors(tmp_path) / "TestImages.txt", ["b2.jpg"])
    refused(lambda: indoors.read("indoors", str(tmp_path)), "'b2.jpg'", "<room>/<file>")
    (tmp_path / "TestImages.txt").unlink()
    refused(lambda: indoors.read("indoors", str(tmp_path)), "TestImages.txt is missing")


@pytest.mark.parametrize("root", [".", "eurosat", "eurosat/2750"])
def test_eurosat_splits_every_class_and_always_alike(tmp_path, root):
    trees.eurosat(tmp_path / "eurosat")
    data, again = (eurosat.read("eurosat", str(tmp_path / root)) for _ in range(2))
    assert np.bincount(data.labels[data.train]).tolist() == [4] * 10
    assert np.bincount(data.labels[data.test]).tolist() == [1] * 10
    assert data.classes == trees.LAND
    assert parts(data) == parts(again)


def test_eurosat_not_wholly_extracted(tmp_path):
    trees.eurosat(tmp_path, per_class=1)
    (tmp_path / "2750/SeaLake/SeaLake_1.jpg").unlink()
    refused(lambda: eurosat.read("eurosat", str(tmp_path)), "SeaLake", "no images")
    (tmp_path / "2750/SeaLake").rmdir()
    refused(lambda: eurosat.read("eurosat", str(tmp_path)), "9 class folders")


# CIFAR-100 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("above", [True, False])
def test_cifar100(tmp_path, monkeypatch, version, above):
    folder = getattr(trees, f"cifar_{version}")(tmp_path / f"cifar-100-{version}")
    for name, value in trees.cifar_sums(folder).items() if version == "python" else ():
        monkeypatch.setattr(cifar100.Pickled, name, value)
    data = cifar100.read("cifar100", str(tmp_path if above else folder))
    (train, _), (test, _) = trees.cifar_images().values()
    assert data.pixels.shape == (5, 32, 32, 3)
    assert data.pixels[0, 2, 5].tolist() == [train[0, plane * 1024 + 2 * 32 + 5] for plane in range(3)]
    assert data.pixels[4, 31, 0, 2] == test[1, 2 * 1024 + 31 * 32]
    assert data.labels.tolist() == [1, 0, 1, 0, 1]
    assert (data.train.tolist(), data.test.tolist()) == ([0, 1, 2], [3, 4])
    assert data.classes == ("apple", "aquarium_fish")


def test_cifar100_truncated_in_part_or_pickled_by_strangers(tmp_path):
    path = trees.cifar_binary(tmp_path / "binary") / "train.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    refused(lambda: cifar100.read("cifar100", str(tmp_path / "binary")), "9221 bytes", "3074")
    path.write_bytes(content)
    path.with_name("test.bin").unlink()
    refused(lambda: cifar100.read("cifar100", str(tmp_path / "binary")), "test.bin is missing")
    pickled = trees.cifar_python(tmp_path / "python")
    refused(lambda: cifar100.read("cifar100", str(pickled)), str(pickled), "published md5")
