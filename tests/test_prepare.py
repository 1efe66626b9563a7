"""Data sets got from archives and a server of our own, checked, and COCO-70 made anew from a small COCO."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image
from test_download import names, server  # noqa: F401
from trees import refused

from cotune_bench import cli
from cotune_bench.config import build, choices, compose_config
from cotune_bench.data.dataset import Reader
from cotune_bench.data.prepare import coco_rebuild
from cotune_bench.data.prepare import run as prepare
from cotune_bench.data.prepare.coco_rebuild import candidates, choose, rebuild
from cotune_bench.data.prepare.run import SOURCES, Source
from cotune_bench.data.readers import cub, flowers, indoors

ROOT = Path(cli.__file__).parents[3]


def packed(folder: Path, path: Path, name: str) -> Path:
    """A tar of a folder under this name."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, name)
    return path


def hashed(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def md5(path: Path) -> str:
    return hashed(path.read_bytes())


def run(*arguments: str) -> int:
    return cli.main(["prepare-data", *arguments])


def sums(monkeypatch, name: str, **known: str) -> None:
    """Replace the md5 of a data set's files, in order."""
    values = list(known.values())
    changed = tuple(replace(source, md5=value) for source, value in zip(SOURCES[name], values, strict=True))
    monkeypatch.setitem(SOURCES, name, changed)


@pytest.fixture
def birds(tmp_path, monkeypatch) -> Path:
    """CUB's archive in data/, of 3 + 2 images, which are the official ones for once."""
    (tmp_path / "data").mkdir()
    archive = packed(trees.cub(tmp_path / "made"), tmp_path / "data" / "CUB_200_2011.tgz", "CUB_200_2011")
    sums(monkeypatch, "cub", archive=md5(archive))
    monkeypatch.setattr(cub, "READER", Reader(cub.read, official={"classes": 2, "train": 3, "test": 2}))
    return tmp_path / "data"


# Getting -----------------------------------------------------------------------------------------------------------


def test_an_archive_that_is_there_is_used_and_checked(birds, capsys):
    assert run("cub", f"data_root={birds}") == 0
    out, err = capsys.readouterr()
    assert "cub: 2 classes, 3 train, 2 test" in out
    assert "5 files found, 0 missing, 0 unreadable" in out
    assert not err
    assert run("cub", f"data_root={birds}") == 0
    assert "it is there already" in capsys.readouterr().out
    assert run("cub", "--check", f"data_root={birds}") == 0


def test_an_archive_inside_of_the_data_sets_folder_is_used(birds):
    (birds / "CUB_200_2011").mkdir()
    (birds / "CUB_200_2011.tgz").rename(birds / "CUB_200_2011" / "CUB_200_2011.tgz")
    assert run("cub", f"data_root={birds}") == 0


def test_an_archive_with_another_checksum_is_put_aside(birds, monkeypatch, capsys):
    sums(monkeypatch, "cub", archive="0" * 32)
    assert run("cub", f"data_root={birds}") == 2
    assert f"kept as {birds / 'CUB_200_2011.tgz.bad'}" in capsys.readouterr().err
    assert [name for name in names(birds) if not name.startswith(".")] == ["CUB_200_2011.tgz.bad"]


def test_archives_and_files_are_downloaded(server, tmp_path, monkeypatch):  # noqa: F811
    made = trees.flowers(tmp_path / "made")
    server.files = {
        "102flowers.tgz": packed(made / "jpg", tmp_path / "jpg.tgz", "jpg").read_bytes(),
        "imagelabels.mat": (made / "imagelabels.mat").read_bytes(),
        "setid.mat": (made / "setid.mat").read_bytes(),
    }
    sums(monkeypatch, "flowers", **{name: hashed(file) for name, file in server.files.items()})
    server.cuts = 1
    config = compose_config(["data=flowers", f"data_root={tmp_path / 'data'}"])
    prepare.prepare("flowers", config, base=server.base)
    data = build(config.data)
    assert (len(data.train), len(data.test)) == (4, 2)
    asked = len(server.asked)
    (tmp_path / "data/flowers-102/setid.mat").unlink()
    prepare.prepare("flowers", config, base=server.base)
    assert len(server.asked) == asked + 1  # only what was missing
    monkeypatch.setattr(flowers, "READER", Reader(flowers.read, official={"classes": 2, "train": 4, "test": 2}))
    assert prepare.check_data("flowers", config) == 0


def test_the_folder_of_images_may_lie_one_deeper_in_the_archive(tmp_path, monkeypatch):
    made, store = trees.indoors(tmp_path / "made"), tmp_path / "data"
    store.mkdir()
    packed(made, store / "indoorCVPR_09.tar", "indoorCVPR_09")
    for part in ("Train", "Test"):
        (made / f"{part}Images.txt").rename(store / f"{part}Images.txt")
    monkeypatch.setattr(indoors, "READER", Reader(indoors.read, official={"classes": 2, "train": 3, "test": 2}))
    assert run("indoors", f"data_root={store}") == 0
    assert (store / "indoorCVPR_09/Images/attic/a2.jpg").is_file()


def test_without_a_network_one_line_tells_address_and_place(tmp_path, monkeypatch, capsys):
    gone = Source(file="EuroSAT.zip", url="http://127.0.0.1:9/EuroSAT.zip", to="2750", holds="2750")
    monkeypatch.setitem(SOURCES, "eurosat", (gone,))
    assert run("eurosat", f"data_root={tmp_path}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "http://127.0.0.1:9/EuroSAT.zip" in line
    assert f"put it at {tmp_path / 'EuroSAT.zip'}" in line


def test_what_cannot_be_downloaded_is_told_with_its_place(tmp_path, capsys):
    assert run("cars", f"data_root={tmp_path}") == 1
    out, err = capsys.readouterr()
    for source in SOURCES["cars"]:
        assert f"{source.file} from {source.by_hand}: put it in {tmp_path}" in out
    assert "docs/data/cars.md" in out
    assert err == ""  # what is missing has been told


def test_cars_from_the_original_archives(tmp_path, monkeypatch, capsys):
    made, store = trees.cars(tmp_path / "made"), tmp_path / "data"
    store.mkdir()
    archives = [
        packed(made / folder, store / source.file, folder)
        for source, folder in zip(SOURCES["cars"][:3], ("cars_train", "cars_test", "devkit"), strict=True)
    ]
    sums(monkeypatch, "cars", **{path.name: md5(path) for path in archives}, labels="")
    assert run("cars", f"data_root={store}") == 1  # the labels of the test images are missing
    out, _ = capsys.readouterr()
    assert "cars_test_annos_withlabels.mat from" in out
    assert "cars_train.tgz from" not in out
    (made / "cars_test_annos_withlabels.mat").rename(store / "cars_test_annos_withlabels.mat")
    assert run("cars", f"data_root={store}") == 1
    _, err = capsys.readouterr()
    assert err.splitlines() == [
        "problem: classes: 3 instead of 196",
        "problem: train: 4 instead of 8144",
        "problem: test: 3 instead of 8041",
    ]


def test_coco70_from_its_parts(tmp_path, capsys):
    whole = packed(trees.coco70(tmp_path / "made"), tmp_path / "whole.tar", "COCO70").read_bytes()
    store = tmp_path / "data"
    store.mkdir()
    for number, letter in enumerate("abc"):
        (store / f"COCO70_splita{letter}").write_bytes(
            whole[number * 300 : None if number == 2 else number * 300 + 300]
        )
    assert run("coco70", f"data_root={store}") == 1  # too few, but all there
    assert "coco70: 2 classes, 4 train, 2 test, 2 val" in capsys.readouterr().out


def test_two_commands_do_not_write_the_same_files(birds, capsys):
    config = compose_config(["data=cub", f"data_root={birds}"])
    with prepare._alone("cub", config):
        assert run("cub", f"data_root={birds}") == 2
    assert "another prepare_data.py cub is at work" in capsys.readouterr().err


def test_an_interrupted_command_unpacks_nothing_by_halves(birds, monkeypatch, capsys):
    def stopped(*_arguments) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extract", lambda *_a, **_o: stopped())
        assert run("cub", f"data_root={birds}") == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not (birds / "CUB_200_2011").exists()
    assert run("cub", f"data_root={birds}") == 0


EMBEDDED = ("digits", "greek", "cyrillic", "symbols", "mnist")  # nothing to prepare


def test_every_image_data_set_has_sources_and_every_source_a_place():
    assert set(SOURCES) == set(choices("data")) - {*EMBEDDED, "folder", "imagelist", "coco70-rebuilt"}
    for sources in SOURCES.values():
        for source in sources:
            assert bool(source.url) != bool(source.by_hand)
            assert len(source.md5) in (0, 32)


def test_the_pages_tell_the_same_addresses_and_sums():
    for name, sources in SOURCES.items():
        page = (ROOT / "docs/data" / f"{name}.md").read_text(encoding="utf-8")
        for source in sources:
            assert source.file in page
            assert source.md5 in page


# Checking ----------------------------------------------------------------------------------------------------------


def test_check_names_missing_and_unreadable_images(birds, capsys):
    assert run("cub", f"data_root={birds}") == 0
    images = birds / "CUB_200_2011/images"
    (images / "001.Albatross/a2.jpg").unlink()
    (images / "002.Wren/w1.jpg").write_bytes(b"no image")
    capsys.readouterr()
    assert run("cub", "--check", f"data_root={birds}") == 1
    out, err = capsys.readouterr()
    assert "4 files found, 1 missing, 1 unreadable" in out
    assert "complete" not in out
    assert "1 images are missing, first images/001.Albatross/a2.jpg" in err
    assert "1 images cannot be decoded, first images/002.Wren/w1.jpg" in err


def test_check_downloads_nothing_and_writes_nothing(birds, capsys):
    before = names(birds)
    assert run("cub", "--check", f"data_root={birds}") == 1
    assert "images.txt is missing" in capsys.readouterr().err
    assert names(birds) == before


def test_data_that_need_no_download(tmp_path, capsys):
    trees.folders(tmp_path / "mine", {"cat": 3, "dog": 3})
    assert run("folder", f"data.root={tmp_path / 'mine'}") == 0
    assert run("digits", f"data_root={tmp_path}") == 0
    assert "there is nothing to download" in capsys.readouterr().out
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cubs"], "cubs is not a data set: did you mean cub?"),
        ([], "name"),
        (["cub", "--chek"], "--chek"),
        (["cub", "rat=0.1"], "rate"),
        (["cub", "--from-coco", "x"], "makes coco70-rebuilt"),
        (["coco70", "--from-coco", "x", "--min-side", "0"], "--min-side 0"),
        (["coco70", "--from-coco", "nowhere"], "instances_train2017.json is missing"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_the_script_itself(tmp_path):
    command = [sys.executable, str(ROOT / "scripts/prepare_data.py"), "cub", "--check", f"data_root={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, env=os.environ)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


# COCO-70 anew ------------------------------------------------------------------------------------------------------

KINDS = ("person", "traffic light", "toothbrush")  # the last is none of the 70


def mini_coco(folder: Path, images: int = 40, per_image: int = 3) -> dict:
    """40 images of 64x48 with 3 persons or 3 traffic lights each, plus a crowd and a small one."""
    annotations, listed = [], []
    for image in range(images):
        listed.append({"id": image, "file_name": f"{image:012d}.jpg", "width": 64, "height": 48})
        trees.put_image(folder / "train2017" / f"{image:012d}.jpg", size=(64, 48))
        for place in range(per_image):
            kind = image % 2 + 1
            box = [place + 0.5, 2.0, 33.2, 40.0]
            annotations.append({"image_id": image, "category_id": kind, "bbox": box, "iscrowd": 0})
    annotations.append({"image_id": 0, "category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1})
    annotations.append({"image_id": 0, "category_id": 1, "bbox": [0, 0, 60, 31], "iscrowd": 0})
    annotations.append({"image_id": 0, "category_id": 3, "bbox": [0, 0, 60, 40], "iscrowd": 0})
    for number, item in enumerate(annotations):
        item["id"] = number
    content = {
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": number, "name": kind} for number, kind in enumerate(KINDS, 1)],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_train2017.json").write_text(json.dumps(content))
    return content


def test_candidates_are_single_large_objects_of_the_classes(tmp_path):
    crops = candidates(mini_coco(tmp_path), "train2017", ["person", "traffic_light"], 32)
    assert len(crops) == 120
    assert [sum(crop.label == label for crop in crops) for label in (0, 1)] == [60, 60]
    assert crops[0].box == (0, 2, 34, 42)  # 0.5..33.7 and 2..42, rounded outwards
    assert crops[0].image == "train2017/000000000000.jpg"
    assert len(candidates(mini_coco(tmp_path / "b"), "train2017", ["person"], 31)) == 61  # the small one
    assert not candidates(mini_coco(tmp_path / "c"), "train2017", ["person"], 41)


def test_no_source_image_is_in_two_parts_and_shares_are_met():
    rng = np.random.default_rng(1)
    crops = [
        coco_rebuild.Crop(number, f"{image}.jpg", int(label), (0, 0, 40, 40))
        for number, (image, label) in enumerate(
            (image, label)
            for image in range(900)
            for label in rng.choice(4, rng.integers(1, 5), p=[0.6, 0.3, 0.09, 0.01])
        )
    ]
    per_class = {"train": 80, "val": 10, "test": 10}
    chosen = choose(crops, 4, per_class, seed=0)
    parts = defaultdict(set)
    for part, members in chosen.items():
        for crop in members:
            parts[crop.image].add(part)
    assert max(map(len, parts.values())) == 1
    numbers = [crop.number for members in chosen.values() for crop in members]
    assert len(set(numbers)) == len(numbers)
    rare = sum(crop.label == 3 for crop in crops)
    assert rare < 100
    for label in range(3):
        assert [sum(crop.label == label for crop in chosen[part]) for part in per_class] == [80, 10, 10]
    got = [sum(crop.label == 3 for crop in chosen[part]) for part in per_class]
    assert got == [rare - 2 * (rare // 10), rare // 10, rare // 10]
    assert choose(crops, 4, per_class, seed=0) == chosen
    assert choose(crops, 4, per_class, seed=1) != chosen


def test_coco70_anew_from_end_to_end(tmp_path, capsys):
    mini_coco(tmp_path)
    assert run("coco70", "--from-coco", str(tmp_path), f"data_root={tmp_path / 'data'}") == 0
    out, err = capsys.readouterr()
    assert "person: 48 + 6 + 6 crops instead of 800 + 100 + 100" in out
    assert "zebra: 0 + 0 + 0 crops" in out
    assert "coco70-rebuilt: 70 classes, 96 train, 12 test, 12 val" in out
    assert not err
    home = tmp_path / "data/coco70-rebuilt"
    data = build(compose_config(["data=coco70-rebuilt", f"data_root={tmp_path / 'data'}"]).data)
    assert data.name == "coco70-rebuilt"
    assert data.val is not None
    assert [len(data.train), len(data.val), len(data.test)] == [96, 12, 12]
    assert {data.classes[label] for label in data.labels} == {"person", "traffic_light"}
    source = {file.rpartition("/")[2].partition("_")[0]: file.partition("/")[0] for file in data.files}
    assert all(source[Path(file).name.partition("_")[0]] == file.partition("/")[0] for file in data.files)
    with Image.open(home / data.files[0]) as image:
        assert image.size == (34, 40)
    recipe = json.loads((home / "rebuilt.json").read_text())
    assert recipe["counts"] == {"classes": 70, "train": 96, "val": 12, "test": 12}
    assert (recipe["min_side"], recipe["seed"], recipe["split"]) == (32, 0, "by source image")
    assert [path.name for path in (tmp_path / "data").iterdir() if not path.name.endswith(".lock")] == [home.name]
    refused(lambda: rebuild(tmp_path, home), "is there already")
    next((home / "train/person").iterdir()).unlink()
    assert run("coco70-rebuilt", "--check", f"data_root={tmp_path / 'data'}") == 1
    assert "train: 95 instead of 96" in capsys.readouterr().err


def test_coco_with_missing_or_damaged_images_makes_nothing(tmp_path):
    mini_coco(tmp_path)
    (tmp_path / "train2017/000000000003.jpg").write_bytes(b"no image")
    refused(lambda: rebuild(tmp_path, tmp_path / "out"), "000000000003.jpg cannot be decoded")
    (tmp_path / "train2017/000000000003.jpg").unlink()
    refused(lambda: rebuild(tmp_path, tmp_path / "out"), "1 images of COCO are missing", "000000000003.jpg")
    (tmp_path / "annotations/instances_train2017.json").write_text("{")
    refused(lambda: rebuild(tmp_path, tmp_path / "out"), "is no JSON")
    assert names(tmp_path)[:2] == ["annotations", "annotations/instances_train2017.json"]
    assert not list(tmp_path.glob("*out*"))
