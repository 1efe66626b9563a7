"""The paper's protocol from end to end on image files: published layouts, large networks with random weights."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image

from cotune_bench import cli

KINDS, TRAIN, TEST = 4, 5, 2  # images of each kind
TINY = (
    *("backbone.weights=random", "protocol.updates=2", "protocol.batch_size=4", "protocol.resize=64"),
    *("protocol.crop=48", "protocol.threads=1", "device=cpu"),
)
#: DELTA weighs 64 of ResNet-50's filters instead of 3,840.
SMALL_DELTA = ("method.attention_batches=1", "method.attention_batch_size=2", "backbone.taps=[layer1.2.conv2]")


def put_birds(root: Path) -> Path:
    """The layout of CUB-200-2011: 4 kinds, 5 + 2 images of noise of each, of several sizes."""
    rng = np.random.default_rng(0)
    files, kinds, trains = [], [], []
    for kind in range(1, KINDS + 1):
        for number in range(TRAIN + TEST):
            files.append(f"{kind:03d}.Bird/Bird_{number:04d}.jpg")
            kinds.append(kind)
            trains.append(int(number < TRAIN))
            path = root / "images" / files[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (50 + 8 * kind, 70, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    for name, values in (("images", files), ("image_class_labels", kinds), ("train_test_split", trains)):
        trees.put_lines(root / f"{name}.txt", [f"{number} {value}" for number, value in enumerate(values, 1)])
    trees.put_lines(root / "classes.txt", [f"{kind} {kind:03d}.Bird" for kind in range(1, KINDS + 1)])
    return root


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working directory with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["run.py"])
    return tmp_path


def only_record(here: Path) -> dict:
    (path,) = (here / "results" / "records").glob("*.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", ["finetune", "l2sp", "bss", "delta", "cotuning"])
def test_every_method_runs_the_paper_s_protocol_on_image_files(here, capsys, method):
    put_birds(here / "birds")
    command = [f"method={method}", "data=cub", "data.root=birds", "rate=0.5", *TINY]
    command += SMALL_DELTA if method == "delta" else ()
    assert cli.main(command) == 0
    record = only_record(here)
    assert (record["method"], record["data"], record["backbone"]) == (method, "cub", "resnet50")
    assert (record["protocol"], record["weights"]) == ("paper", "random")
    assert record["train_images"] == KINDS * 2  # 5 of a kind, 1 validates, half of the other 4
    assert record["test_images"] == KINDS * TEST
    assert record["accuracy"] * KINDS * TEST % 100 == 0
    assert record["val_accuracy"] * KINDS % 100 == 0
    assert record["config"]["protocol"]["views"] == "official10"
    assert len(list((here / "cache" / "decoded").glob("cub-64-*.uint8"))) == 1
    capsys.readouterr()
    assert cli.main(command) == 0
    assert "finished before, not run again" in capsys.readouterr().out
    assert only_record(here) == record


def test_coco70_runs_with_its_own_network_and_validation_images(here):
    trees.coco70(here / "COCO70")
    assert cli.main(["method=cotuning", "data=coco70", "data.root=COCO70", "rate=1.0", *TINY]) == 0
    record = only_record(here)
    assert (record["backbone"], record["protocol"], record["weights"]) == ("densenet121", "paper", "random")
    assert (record["train_images"], record["test_images"]) == (4, 2)
    assert record["val_accuracy"] in (0, 50, 100)


@pytest.mark.parametrize(("damage", "told"), [("missing", "missing in"), ("truncated", "cannot be read")])
def test_an_image_that_cannot_be_read_stops_before_training(here, capsys, damage, told):
    path = put_birds(here / "birds") / "images" / "002.Bird" / "Bird_0006.jpg"  # of the test set, which is read last
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000])
    assert cli.main(["method=finetune", "data=cub", "data.root=birds", *TINY]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("error: data cub: 1 of the images (images/002.Bird/Bird_0006.jpg")
    assert told in line
    assert line.endswith("get the data set again")
    assert not (here / "results").exists()
