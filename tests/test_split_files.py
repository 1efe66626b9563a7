"""The lists of a split: what they say, that they agree with the fingerprint, and that they never change."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from conftest import PROTOCOL, make_dataset
from trees import put_image, refused

from cotune_bench import cli
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.dataset import Dataset, ImageList
from cotune_bench.data.readers.common import labelled
from cotune_bench.data.readers.imagelist import read
from cotune_bench.data.split_lists import SplitFiles, split_files
from cotune_bench.data.target import TargetData, target_data


def lists(
    images: ImageList | Dataset, folder: Path, protocol: Protocol = PROTOCOL, **options
) -> tuple[SplitFiles, TargetData]:
    """The lists of a split in ``folder``, not written yet, and the data they tell of."""
    values = {"rate": 0.5, "split_seed": 0, **options}
    data = target_data(
        images, protocol, seed=0, mean=(0.5,) * 3, std=(0.25,) * 3, device=torch.device("cpu"), **values
    )
    return split_files(images, data, protocol, settings={"name": "toy"}, folder=folder, **values), data


def image_list(root: Path, per_class: int = 5) -> ImageList:
    """Two classes of files, 5 of each for training and 1 for the test."""
    files = [f"{kind}/{number}.png" for number in range(per_class + 1) for kind in ("cat", "dog")]
    for file in files:
        put_image(root / file)
    count = 2 * per_class
    labels = np.arange(len(files)) % 2
    train, test = np.arange(count), np.arange(count, len(files))
    return ImageList(
        name="toy", labels=labels, classes=("cat", "dog"), root=root, files=tuple(files), train=train, test=test
    )


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


def part(folder: Path, name: str) -> list[str]:
    (path,) = folder.glob(f"*-{name}.txt")
    return path.read_text(encoding="utf-8").splitlines()


def test_files_are_listed_by_name_and_can_be_read_back(tmp_path):
    images, folder = image_list(tmp_path / "images"), tmp_path / "splits"
    found, data = lists(images, folder)
    assert not folder.exists()
    found.write()
    # 5 of a class: 1 validates, half of the other 4 trains.
    assert [len(part(folder, name)) for name in ("train", "val", "test")] == [4, 2, 2]
    assert part(folder, "test") == ["cat/5.png 0", "dog/5.png 1"]
    assert not {*part(folder, "train")} & {*part(folder, "val")}
    for name, members in (("train", data.plain), ("val", data.val)):
        (path,) = folder.glob(f"toy-rate0.5-split0-*-{name}.txt")
        expected = [(images.files[row], images.labels[row]) for row in members.images.index]
        assert labelled("toy", path) == expected
    train, val, test = (str(next(folder.glob(f"*-{name}.txt"))) for name in ("train", "val", "test"))
    again = read("mine", str(images.root), train=train, val=val, test=test, classes=None, sampled=True)
    assert [len(rows) for rows in (again.train, again.val, again.test) if rows is not None] == [4, 2, 2]


def test_arrays_are_listed_by_number(tmp_path):
    dataset = make_dataset()
    found, _ = lists(dataset, tmp_path)
    found.write()
    assert part(tmp_path, "test")[:2] == ["30 0", "31 1"]
    for name in ("train", "val"):
        for line in part(tmp_path, name):
            row, label = map(int, line.split())
            assert row in dataset.train
            assert dataset.labels[row] == label


def test_a_part_without_images_has_no_list(tmp_path):
    lists(make_dataset(), tmp_path, replace(PROTOCOL, val=0.0))[0].write()
    assert {name.rpartition("-")[2] for name in content(tmp_path)} == {"train.txt", "test.txt"}


def test_the_rule_of_the_split_names_the_lists(tmp_path):
    dataset = make_dataset()
    changes = [
        {},
        {"rate": 0.6},
        {"rate": 0.6000000001},
        {"split_seed": 1},
        {"protocol": replace(PROTOCOL, val=0.4)},
        {"protocol": replace(PROTOCOL, split_order="sample_then_split")},
    ]
    for change in changes:
        lists(dataset, tmp_path, **change)[0].write()
    assert len(content(tmp_path)) == 3 * len(changes)
    lists(dataset, tmp_path, replace(PROTOCOL, lr=1.0, updates=3))[0].write()
    assert len(content(tmp_path)) == 3 * len(changes)


def test_lists_are_written_once_and_other_data_is_refused(tmp_path):
    images, folder = image_list(tmp_path / "images"), tmp_path / "splits"
    found, data = lists(images, folder)
    found.write()
    before, times = content(folder), [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    again, same = lists(images, folder)
    again.write()
    assert same.fingerprint == data.fingerprint
    assert [path.stat().st_mtime_ns for path in sorted(folder.iterdir())] == times
    renamed = [put_image(images.root / "cat/9.png") and "cat/9.png", *images.files[1:]]
    swapped = np.where(np.arange(len(images.labels)) < 10, 1 - images.labels, images.labels)
    for changed in (replace(images, files=tuple(renamed)), replace(images, labels=swapped)):
        other, newer = lists(changed, folder)
        assert newer.fingerprint != data.fingerprint
        refused(other.check, "lists other images", "the data changed")
        refused(other.write, "the data changed", "results=FOLDER")
    assert content(folder) == before


def test_a_run_lists_its_images_and_bad_input_lists_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["run.py"])
    tiny = ["backbone.weights=random", "protocol.updates=1", "device=cpu"]
    assert cli.main(["method=cotuning", "protocol.val=0", *tiny]) == 2
    assert not Path("results").exists()
    for method in ("finetune", "bss"):
        assert cli.main([f"method={method}", *tiny]) == 0
    folder = Path("results/splits")
    assert len(content(folder)) == 3  # the same for all methods
    (train,) = folder.glob("digits-rate0.15-split0-*-train.txt")
    train.write_text(train.read_text(encoding="utf-8") + "0 0\n", encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["method=l2sp", *tiny]) == 2
    assert "the data changed" in capsys.readouterr().err
    assert len(list(Path("results/runs").iterdir())) == 2
