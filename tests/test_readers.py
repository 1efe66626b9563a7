"""Readers of the paper's four data sets, on small trees in every layout that is accepted and on bad ones."""

import os

import pytest
import trees
from scipy.io import savemat
from trees import parts, refused

from cotune_bench.data.readers import aircraft, cars, coco70, cub, indoors
from cotune_bench.data.readers.common import missing_files

# CUB ----------------------------------------------------------------------------------------------------------------

CUB_PARTS = {
    "train": [("images/001.Albatross/a 1.jpg", 0), ("images/001.Albatross/a2.jpg", 0), ("images/002.Wren/w1.jpg", 1)],
    "test": [("images/001.Albatross/a3.jpg", 0), ("images/002.Wren/w2.jpg", 1)],
}


@pytest.mark.parametrize("root", ["CUB_200_2011", "."])
def test_cub_official_from_its_folder_or_the_one_above(tmp_path, root):
    home = trees.cub(tmp_path / "CUB_200_2011")
    data = cub.read("cub", str(tmp_path / root))
    assert parts(data) == CUB_PARTS
    assert data.classes == ("001.Albatross", "002.Wren")
    assert not missing_files(data)
    trees.put_lines(home / "classes.txt", ["1 Wren", "2 Albatross"])  # its order, not the alphabet's
    assert cub.read("cub", str(tmp_path / root)).classes == ("Wren", "Albatross")


@pytest.mark.parametrize(
    ("reader", "file"),
    [
        *((cub, file) for file in ("image_class_labels.txt", "train_test_split.txt", "classes.txt")),
        (aircraft, "data/images_variant_test.txt"),
        (coco70, "dev.txt"),
        (cars, "devkit/cars_train_annos.mat"),
        (indoors, "TestImages.txt"),
    ],
)
def test_a_missing_list_is_named_with_the_command(tmp_path, reader, file):
    name = reader.__name__.rpartition(".")[2]
    (getattr(trees, name)(tmp_path) / file).unlink()
    command = f"cotune-bench prepare-data {name}"
    refused(lambda: reader.read(name, str(tmp_path)), file.rpartition("/")[2], "is missing", command)


@pytest.mark.parametrize(
    ("reader", "file", "lines", "words"),
    [
        (cub, "image_class_labels.txt", ["1 1", "2 1", "3 1", "4 3", "5 2"], "label 2, outside 0..1"),
        (cub, "image_class_labels.txt", ["1 0", "2 1", "3 1", "4 2", "5 2"], "label -1"),
        (cub, "image_class_labels.txt", ["1 1"], "image 2"),
        (cub, "image_class_labels.txt", ["1 one", "2 1", "3 1", "4 2", "5 2"], "image 1"),
        (cub, "train_test_split.txt", ["1 1", "2 1", "3 7", "4 1", "5 0"], "image 3"),
        (cub, "train_test_split.txt", ["1 1", "2 1", "3 1", "4 1", "5 1"], "no test images"),
        (cub, "images.txt", ["1"], "'<id> <value>'"),
        (aircraft, "data/images_variant_test.txt", ["0000005 F-15"], "'F-15', which variants.txt does not hold"),
        (coco70, "dev.txt", ["person/dev_0.jpg 0", "../train/person/train_0.jpg 0"], "is outside its folder"),
        (coco70, "dev.txt", ["person/dev_0.jpg 0", "person/dev_0.jpg 0"], "twice in val"),
        (coco70, "dev.txt", ["person/dev_0.jpg"], "'<file> <label>'"),
        (indoors, "TestImages.txt", ["b2.jpg"], "'b2.jpg' instead of '<room>/<file>'"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path, reader, file, lines, words):
    name = reader.__name__.rpartition(".")[2]
    trees.put_lines(getattr(trees, name)(tmp_path) / file, lines)
    refused(lambda: reader.read(name, str(tmp_path)), words)


def test_cub_one_folder_per_class(tmp_path):
    trees.folders(tmp_path, {"train/002.Wren": 1, "train/010.Auk": 1, "test/010.Auk": 1, "test/002.Wren": 1})
    data = cub.read("cub", str(tmp_path))
    assert data.classes == ("002.Wren", "010.Auk")
    assert parts(data)["test"] == [("test/002.Wren/001.jpg", 0), ("test/010.Auk/001.jpg", 1)]
    assert data.val is None


# Cars ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kaggle", [False, True])
@pytest.mark.parametrize(
    "labels",
    [
        "cars_test_annos_withlabels.mat",
        "devkit/cars_test_annos_withlabels.mat",
        "cars_test_annos_withlabels (1).mat",
    ],
)
def test_cars_with_devkit(tmp_path, kaggle, labels):
    home = trees.cars(tmp_path / "stanford_cars", nested=kaggle, labels=labels)
    if kaggle and "/" not in labels:
        (home / "car_devkit").mkdir()
        (home / "devkit").rename(home / "car_devkit" / "devkit")
    data = cars.read("cars", str(tmp_path))
    prefix = "cars_train/cars_train" if kaggle else "cars_train"
    assert parts(data)["train"] == [(f"{prefix}/0000{n}.jpg", label) for n, label in [(1, 0), (2, 1), (3, 2), (4, 0)]]
    assert [label for _, label in parts(data)["test"]] == [2, 1, 0]
    assert data.classes == trees.CARS
    assert not missing_files(data)


def test_cars_labels_within_the_devkit_file_and_a_single_annotation(tmp_path):
    trees.cars(tmp_path, train=1)
    (tmp_path / "cars_test_annos_withlabels.mat").replace(tmp_path / "devkit" / "cars_test_annos.mat")
    found = parts(cars.read("cars", str(tmp_path)))
    assert found["train"] == [("cars_train/00001.jpg", 0)]
    assert [label for _, label in found["test"]] == [2, 1, 0]


def test_cars_without_test_labels_says_where_they_are(tmp_path):
    trees.cars(tmp_path, labels="")
    refused(lambda: cars.read("cars", str(tmp_path)), "cars_test_annos_withlabels.mat", "docs/data/cars.md")


def test_cars_without_meta_have_the_official_names(tmp_path):
    (trees.cars(tmp_path) / "devkit" / "cars_meta.mat").unlink()
    classes = cars.read("cars", str(tmp_path)).classes
    assert (len(classes), classes[5], classes[195]) == (
        196,
        "Acura Integra Type R 2001",
        "smart fortwo Convertible 2012",
    )


def test_cars_single_archive(tmp_path):
    data = cars.read("cars", str(trees.cars_archive(tmp_path)))
    assert parts(data) == {
        "train": [("car_ims/000001.jpg", 0), ("car_ims/000003.jpg", 1), ("car_ims/000004.jpg", 2)],
        "test": [("car_ims/000002.jpg", 1), ("car_ims/000005.jpg", 2)],
    }
    assert data.classes == trees.CARS


def test_cars_one_folder_per_class_has_the_official_order(tmp_path):
    kinds = ["Acura RL Sedan 2012", "Acura Integra Type R 2001", "Ram C-V Cargo Van Minivan 2012"]
    trees.folders(
        tmp_path / "car_data" / "car_data", {f"{part}/{kind}": 1 for part in ("train", "test") for kind in kinds}
    )
    data = cars.read("cars", str(tmp_path))
    assert [label for _, label in parts(data)["train"]] == [1, 5, 173]
    assert len(data.classes) == 196
    trees.folders(tmp_path / "car_data" / "car_data", {"train/Bicycle": 1, "test/Bicycle": 1})
    refused(lambda: cars.read("cars", str(tmp_path)), "Bicycle", "not one of the 196 classes")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda root: (root / "devkit/cars_train_annos.mat").write_bytes(b"not a matlab file" * 20),
            "get the file again",
        ),
        (lambda root: os.truncate(root / "devkit/cars_train_annos.mat", 300), "get the file again"),
        (lambda root: savemat(root / "devkit/cars_train_annos.mat", {"x": 1}), "gives no annotations"),
    ],
)
def test_cars_damaged_annotations(tmp_path, damage, words):
    damage(trees.cars(tmp_path))
    refused(lambda: cars.read("cars", str(tmp_path)), "cars_train_annos.mat", words)


# Aircraft -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [".", "fgvc-aircraft-2013b", "fgvc-aircraft-2013b/data"])
@pytest.mark.parametrize("merged", [True, False])
def test_aircraft_merges_train_and_val(tmp_path, root, merged):
    trees.aircraft(tmp_path / "fgvc-aircraft-2013b")
    if not merged:
        (tmp_path / "fgvc-aircraft-2013b/data/images_variant_trainval.txt").unlink()
    data = aircraft.read("aircraft", str(tmp_path / root))
    assert parts(data) == {
        "train": [(f"images/000000{n}.jpg", label) for n, label in [(1, 1), (2, 0), (3, 0), (4, 1)]],
        "test": [("images/0000005.jpg", 1), ("images/0000006.jpg", 0)],
    }
    assert data.classes == ("Cessna 172", "F-16A/B")
    assert data.crop_bottom == 0
    assert not missing_files(data)
    assert aircraft.read("aircraft", str(tmp_path / root), crop_banner=True).crop_bottom == 20


def test_aircraft_one_folder_per_class(tmp_path):
    trees.folders(tmp_path, {f"{part}/{kind}": 1 for part in ("train", "test") for kind in ("F-16A-B", "Cessna 172")})
    data = aircraft.read("aircraft", str(tmp_path), crop_banner=True)
    assert (data.classes, data.crop_bottom) == (("Cessna 172", "F-16A-B"), 20)


# COCO-70 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("root", [".", "COCO70"])
def test_coco70_release(tmp_path, prefixed, root):
    trees.coco70(tmp_path / "COCO70", prefixed=prefixed)
    data = coco70.read("coco70", str(tmp_path / root))
    assert parts(data) == {
        "train": [(f"train/{('person', 'train')[n % 2]}/train_{n}.jpg", n % 2) for n in range(4)],
        "val": [("dev/person/dev_0.jpg", 0), ("dev/train/dev_1.jpg", 1)],
        "test": [("test/person/test_0.jpg", 0), ("test/train/test_1.jpg", 1)],
    }
    assert data.classes == ("person", "train")
    assert not missing_files(data)


def test_coco70_of_tllib(tmp_path):
    data = coco70.read("coco70", str(trees.tllib(tmp_path)))
    assert (len(data.train), data.val, len(data.test)) == (8, None, 2)
    assert (len(data.classes), data.classes[0], data.classes[69]) == (70, "person", "teddy_bear")
    trees.put_lines(tmp_path / "image_list/test.txt", ["./train/0//img 0.jpg 0"])
    refused(lambda: coco70.read("coco70", str(tmp_path)), "train/0/img 0.jpg is both in train and in test")


def test_coco70_one_folder_per_class(tmp_path):
    trees.folders(tmp_path, {f"{part}/{kind}": 1 for part in ("train", "dev", "test") for kind in ("tv", "hot dog")})
    data = coco70.read("coco70", str(tmp_path))
    assert [data.classes[label] for _, label in parts(data)["val"]] == ["hot_dog", "tv"]
