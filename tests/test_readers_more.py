"""Readers of the other public data sets, checks of what a reader found, and the yaml files that call the readers."""

from pathlib import Path

import numpy as np
import pytest
import trees
from omegaconf import OmegaConf
from scipy.io import savemat
from trees import parts, refused

from cotune_bench.config import CONF, build, compose_config
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.prepare.run import check_data
from cotune_bench.data.readers import (
    aircraft,
    cars,
    cifar100,
    coco70,
    cub,
    dmlab,
    eurosat,
    flowers,
    indoors,
    sketches,
    wikiart,
)
from cotune_bench.data.readers.common import missing_files, problems, require_files

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


@pytest.mark.parametrize("root", [".", "sketches", "sketches/png"])
def test_sketches_split_every_class_and_always_alike(tmp_path, root):
    trees.sketches(tmp_path / "sketches")
    data, again = (sketches.read("sketches", str(tmp_path / root)) for _ in range(2))
    assert data.classes == ("airplane", "alarm clock")
    assert np.bincount(data.labels[data.train]).tolist() == [4, 4]
    assert np.bincount(data.labels[data.test]).tolist() == [1, 1]
    assert parts(data) == parts(again)
    assert not missing_files(data)
    refused(lambda: sketches.read("sketches", str(tmp_path / "no")), "airplane is missing", "prepare-data sketches")


WIKIART = {
    "style": {
        "train": [("Baroque/a_1.jpg", 0), ("Impressionism/b-(1).jpg", 1), ("Ukiyo_e/c.jpg", 2)],
        "test": [("Baroque/a_2.jpg", 0), ("Ukiyo_e/grã©g.jpg", 2)],
    },
    "artist": {
        "train": [("Baroque/a_1.jpg", 1), ("Baroque/a_2.jpg", 1)],
        "test": [("Impressionism/b-(1).jpg", 0)],
    },
}


@pytest.mark.parametrize("lists", [".", "wikiart_csv", "wikiart_csv/wikiart_csv", "wikiart_csv/{}"])
@pytest.mark.parametrize("labels", WIKIART)
def test_wikiart_has_a_list_for_each_kind_of_labels(tmp_path, lists, labels):
    trees.wikiart(tmp_path / "wikiart", lists)
    data = wikiart.read("wikiart", str(tmp_path / "wikiart"), labels)
    assert parts(data) == WIKIART[labels]
    assert data.classes == {"style": ("Baroque", "Impressionism", "Ukiyo_e"), "artist": ("Bea", "Ada_A")}[labels]
    assert not missing_files(data)


def test_wikiart_of_capital_names_and_damaged(tmp_path):
    lists = trees.wikiart(tmp_path) / "wikiart_csv"
    (lists / "style_val.csv").rename(lists / "Style_val.csv")
    assert parts(wikiart.read("wikiart", str(tmp_path), "style")) == WIKIART["style"]
    refused(lambda: wikiart.read("wikiart", str(tmp_path), "genre"), "genre_class.txt is missing", "prepare-data")
    refused(lambda: wikiart.read("wikiart", str(tmp_path), "year"), "data.labels=year", "style, artist, genre")
    trees.put_lines(lists / "style_class.txt", ["0 Baroque", "2 Ukiyo_e"])
    refused(lambda: wikiart.read("wikiart", str(tmp_path), "style"), "style_class.txt has no class '1'")


@pytest.mark.parametrize("labels", WIKIART)
def test_the_check_of_wikiart_has_the_numbers_of_its_labels(tmp_path, capsys, labels):
    trees.wikiart(tmp_path / "wikiart")
    assert check_data("wikiart", compose_config(["data=wikiart", f"data.labels={labels}", f"data_root={tmp_path}"]))
    official = {"style": (27, 57_025, 24_421), "artist": (23, 13_346, 5_706)}[labels]
    problems = capsys.readouterr().err.splitlines()
    for part, number in zip(("classes", "train", "test"), official, strict=True):
        assert any(line.startswith(f"problem: {part}: ") and line.endswith(f" {number}") for line in problems)


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


# Checks -------------------------------------------------------------------------------------------------------------


def test_problems_are_wrong_counts_and_missing_and_broken_images(tmp_path):
    assert problems(cub.read("cub", str(trees.cub(tmp_path))), {"classes": 2, "train": 3, "test": 2}) == []
    wren = tmp_path / "images/002.Wren"
    content = trees.put_image(wren / "w1.jpg", size=(200, 200)).read_bytes()
    (wren / "w1.jpg").write_bytes(content[:-300])  # cut within the pixels: it opens, but cannot be decoded
    (wren / "w2.jpg").unlink()
    data = cub.read("cub", str(tmp_path))
    found = problems(data, cub.READER.official)
    assert found[:-1] == [
        *("classes: 2 instead of 200", "train: 3 instead of 5994", "test: 2 instead of 5794"),
        "1 image is missing, first images/002.Wren/w2.jpg",
    ]
    assert found[-1].startswith("1 image cannot be decoded, first images/002.Wren/w1.jpg (")
    assert "truncated" in found[-1]
    assert problems(data, {}, images=False) == found[3:4]


def test_a_missing_file_is_reported_with_the_visible_content_of_its_folder(tmp_path):
    trees.put_lines(tmp_path / ".cub.lock", [])
    trees.put_lines(tmp_path / "birds.tgz", [])
    text = refused(lambda: cub.read("cub", str(tmp_path / "CUB_200_2011")), f"({tmp_path} holds birds.tgz)")
    assert "run cotune-bench prepare-data cub" in text
    refused(lambda: cub.read("cub", "/nowhere/CUB"), "/nowhere/CUB/images.txt is missing (there is no /nowhere):")


def test_a_run_stops_where_images_are_missing(tmp_path):
    data = cub.read("cub", str(trees.cub(tmp_path)))
    require_files(data)
    (tmp_path / "images/002.Wren/w2.jpg").unlink()
    refused(lambda: require_files(data), "1 of 5 images", "images/002.Wren/w2.jpg")


# Yaml files ---------------------------------------------------------------------------------------------------------


TREES = {
    "cub": trees.cub,
    "cars": trees.cars,
    "aircraft": trees.aircraft,
    "coco70": trees.coco70,
    "flowers": trees.flowers,
    "indoors": trees.indoors,
    "eurosat": trees.eurosat,
    "sketches": trees.sketches,
    "wikiart": trees.wikiart,
    "dmlab": lambda root: dmlab.arrange(trees.dmlab(root)),
    "cifar100": lambda root: trees.cifar_binary(root / "cifar-100-binary"),
    "folder": lambda root: trees.folders(root, {"cat": 2, "dog": 2}),
    "imagelist": trees.tllib,
}


@pytest.mark.parametrize("name", TREES)
def test_yaml_finds_the_data_set_where_its_archive_puts_it(tmp_path, name):
    section = OmegaConf.load(CONF / "data" / f"{name}.yaml")
    assert section.pop("defaults")
    config = OmegaConf.create(
        {"data_root": str(tmp_path), "rate": 0.15, "split_seed": 0, "cache": str(tmp_path / "cache")}
    )
    config.data = section
    TREES[name](Path(config.data.root))
    data = build(config.data)
    assert data.name == name
    assert not isinstance(data, ImageList) or not missing_files(data)


@pytest.mark.parametrize(
    "module", [cub, cars, aircraft, coco70, flowers, indoors, eurosat, dmlab, cifar100, sketches, wikiart]
)
def test_the_page_of_data_sets_has_the_official_numbers(module):
    name = module.__name__.rpartition(".")[2]
    page = (Path(__file__).parents[1] / "docs/data/README.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    numbers = [
        int(cell.strip().replace(",", "")) for cell in row.split("|") if cell.strip().replace(",", "").isdigit()
    ]
    official = module.READER.official
    assert numbers == [official[part] for part in ("classes", "train", "val", "test") if part in official]
