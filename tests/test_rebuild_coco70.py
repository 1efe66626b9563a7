"""COCO-70 rebuilt from a small COCO."""

import json
import runpy
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image

from cotune_bench.cli import guarded
from cotune_bench.cli.prepare_data import main as prepare_data
from cotune_bench.config import build, compose_config

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "scripts/rebuild_coco70.py"))
KINDS = ("person", "traffic light", "toothbrush")  # the last is not one of the 70


@pytest.fixture
def coco(tmp_path) -> Path:
    """40 images of 64x48 with 3 persons or 3 traffic lights each, plus a crowd, a small one and a toothbrush."""
    images, rows = [], [(0, 1, [0, 0, 60, 40], 1), (0, 1, [0, 0, 60, 31], 0), (0, 3, [0, 0, 60, 40], 0)]
    for image in range(40):
        images.append({"id": image, "file_name": f"{image:012d}.jpg", "width": 64, "height": 48})
        trees.put_image(tmp_path / "train2017" / f"{image:012d}.jpg", size=(64, 48))
        rows += [(image, image % 2 + 1, [place + 0.5, 2.0, 33.2, 40.0], 0) for place in range(3)]
    fields = ("image_id", "category_id", "bbox", "iscrowd")
    content = {
        "images": images,
        "annotations": [{"id": number, **dict(zip(fields, row, strict=True))} for number, row in enumerate(rows)],
        "categories": [{"id": number, "name": kind} for number, kind in enumerate(KINDS, 1)],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(content))
    return tmp_path


def test_candidates_are_single_large_objects_of_the_classes(coco):
    content = json.loads((coco / "annotations/instances_train2017.json").read_text())
    crops = SCRIPT["candidates"](content, "train2017", ["person", "traffic_light"], 32)
    assert [sum(crop.label == label for crop in crops) for label in (0, 1)] == [60, 60]
    assert crops[0].box == (0, 2, 34, 42)  # 0.5..33.7 and 2..42, rounded outwards
    assert crops[0].image == "train2017/000000000000.jpg"
    assert [len(SCRIPT["candidates"](content, "train2017", ["person"], side)) for side in (31, 41)] == [61, 0]


def test_no_source_image_is_in_two_parts_and_shares_are_met():
    choose, rng = SCRIPT["choose"], np.random.default_rng(1)
    labels = [(image, y) for image in range(900) for y in rng.choice(4, rng.integers(1, 5), p=[0.6, 0.3, 0.09, 0.01])]
    crops = [
        SCRIPT["Crop"](number, f"{image}.jpg", int(y), (0, 0, 40, 40)) for number, (image, y) in enumerate(labels)
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
    found = [[sum(crop.label == label for crop in chosen[part]) for part in per_class] for label in range(4)]
    assert found == [[80, 10, 10]] * 3 + [[rare - 2 * (rare // 10), rare // 10, rare // 10]]
    assert choose(crops, 4, per_class, seed=0) == chosen
    assert choose(crops, 4, per_class, seed=1) != chosen


def test_the_script_makes_a_data_set_that_is_checked_and_read(coco, capsys):
    arguments, root = [str(coco), f"data_root={coco / 'data'}"], coco / "data/coco70-rebuilt"
    assert guarded(SCRIPT["main"], arguments) == 0
    out = capsys.readouterr().out
    assert "person: 48 + 6 + 6 crops instead of 800 + 100 + 100" in out
    assert "zebra: 0 + 0 + 0 crops" in out
    data = build(compose_config(["data=coco70-rebuilt", arguments[1]]).data)
    assert [len(data.train), len(data.val), len(data.test)] == [96, 12, 12]
    assert {data.classes[label] for label in data.labels} == {"person", "traffic_light"}
    with Image.open(root / data.files[0]) as image:
        assert image.size == (34, 40)
    recipe = json.loads((root / "rebuilt.json").read_text())
    assert (recipe["min_side"], recipe["seed"], recipe["split"]) == (32, 0, "by source image")
    assert list((coco / "data").iterdir()) == [root]
    assert guarded(prepare_data, ["coco70-rebuilt", arguments[1]]) == 0
    next((root / "train/person").iterdir()).unlink()
    assert guarded(prepare_data, ["coco70-rebuilt", arguments[1]]) == 1
    assert "train: 95 instead of 96" in capsys.readouterr().err
    assert guarded(SCRIPT["main"], arguments) == 2
    assert "is there already" in capsys.readouterr().err


def test_bad_input_is_one_line_and_makes_nothing(coco, capsys):
    def says(words: str, *more: str, folder: Path = coco) -> None:
        assert guarded(SCRIPT["main"], [str(folder), f"data_root={coco / 'data'}", *more]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert words in line
        assert not list(coco.glob("data/*"))

    says("--min-side 0", "--min-side", "0")
    says("instances_train2017.json is missing", folder=coco / "train2017")
    (coco / "train2017/000000000003.jpg").write_bytes(b"no image")
    says("000000000003.jpg cannot be decoded")
    (coco / "train2017/000000000003.jpg").unlink()
    says("1 images of COCO are missing")
    (coco / "annotations/instances_train2017.json").write_text("{")
    says("is no JSON")
