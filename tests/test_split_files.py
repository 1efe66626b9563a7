"""The lists of a split: their lines, their names, and that they never change."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import PROTOCOL, make_dataset
from trees import put_image, refused

from cotune_bench import cli
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.dataset import Dataset, ImageList
from cotune_bench.data.readers import folder, imagelist
from cotune_bench.data.split_lists import SplitFiles, split_files
from cotune_bench.data.target import target_data


def lists(images: ImageList | Dataset, folder: Path, protocol: Protocol = PROTOCOL, **options) -> SplitFiles:
    """The lists of a split in ``folder``, not written yet."""
    values = {"rate": 0.5, "split_seed": 0, **options}
    data = target_data(
        images, protocol, seed=0, mean=(0.5,) * 3, std=(0.25,) * 3, device=torch.device("cpu"), **values
    )
    return split_files(images, data, protocol, settings={"name": "toy"}, folder=folder, **values)


@pytest.fixture
def images(tmp_path) -> ImageList:
    """Two classes of files, 5 of each for training and 1 for the test."""
    for file in (f"{kind}/{number}.png" for number in range(6) for kind in ("cat", "dog")):
        put_image(tmp_path / "images" / file)
    return folder.read("toy", str(tmp_path / "images"), test_share=1 / 6)


def part(folder: Path, name: str) -> list[str]:
    (path,) = folder.glob(f"*-{name}.txt")
    return path.read_text(encoding="utf-8").splitlines()


def test_files_are_listed_by_name_and_can_be_read_back(tmp_path, images):
    splits = tmp_path / "splits"
    lists(images, splits).write()
    # 5 of a class: 1 validates, half of the other 4 trains.
    assert [len(part(splits, name)) for name in ("train", "val", "test")] == [4, 2, 2]
    assert [line[:3] + line[-2:] for line in part(splits, "test")] == ["cat 0", "dog 1"]
    assert not {*part(splits, "train")} & {*part(splits, "val")}
    train, val, test = (str(next(splits.glob(f"toy-rate0.5-split0-*-{n}.txt"))) for n in ("train", "val", "test"))
    again = imagelist.read("mine", str(images.root), train=train, val=val, test=test, classes=None, sampled=True)
    assert [len(rows) for rows in (again.train, again.val, again.test) if rows is not None] == [4, 2, 2]


def test_arrays_are_listed_by_number_and_a_part_without_images_has_no_list(tmp_path):
    lists(make_dataset(), tmp_path, replace(PROTOCOL, val=0.0)).write()
    assert part(tmp_path, "test")[:2] == ["30 0", "31 1"]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_rule_of_the_split_names_the_lists(tmp_path):
    changes = [
        {},
        {"rate": 0.6},
        {"rate": 0.6000000001},
        {"split_seed": 1},
        {"protocol": replace(PROTOCOL, val=0.4)},
        {"protocol": replace(PROTOCOL, split_order="sample_then_split")},
    ]
    for change in [*changes, {"protocol": replace(PROTOCOL, lr=1.0, updates=3)}]:  # the last is no other split
        lists(make_dataset(), tmp_path, **change).write()
    assert len(list(tmp_path.iterdir())) == 3 * len(changes)


def test_lists_are_written_once_and_other_data_is_refused(tmp_path, images):
    splits = tmp_path / "splits"
    lists(images, splits).write()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in splits.iterdir()}
    lists(images, splits).write()
    for changed in (
        replace(images, files=images.files[::-1]),
        replace(images, labels=1 - images.labels),
    ):
        refused(lists(changed, splits).write, "lists other images", "the data changed", "results=FOLDER")
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in splits.iterdir()}


def test_a_run_lists_its_images_and_is_refused_where_they_changed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    tiny = ["backbone.weights=random", "protocol.updates=1", "device=cpu"]
    for method in ("finetune", "bss"):
        assert cli.main([f"method={method}", *tiny]) == 0
    splits = Path("results/splits")
    assert len(list(splits.iterdir())) == 3  # the same for all methods
    (train,) = splits.glob("digits-rate0.15-split0-*-train.txt")
    train.write_text(train.read_text(encoding="utf-8") + "0 0\n", encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["method=l2sp", *tiny]) == 2
    assert "the data changed" in capsys.readouterr().err
    assert len(list(Path("results/runs").iterdir())) == 2
