"""The paper's protocol from end to end on image files: published layouts, large networks with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trees
from PIL import Image
from torchvision.transforms import functional, v2

from cotune_bench import cli
from cotune_bench.config import compose_config
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.augment import resized_crop_boxes
from cotune_bench.data.readers.cub import read
from cotune_bench.data.target import TargetData, target_data

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


def only_record(here: Path) -> dict:
    (path,) = (here / "results" / "records").glob("*.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", ["delta", "cotuning"])  # the others have no steps that these do not have
def test_methods_run_the_paper_s_protocol_on_image_files(here, capsys, method):
    put_birds(here / "birds")
    command = [f"method={method}", "data=cub", "data.root=birds", "rate=0.5", *TINY]
    command += SMALL_DELTA if method == "delta" else ()
    assert cli.main(command) == 0
    record = only_record(here)
    assert (record["method"], record["data"], record["backbone"]) == (method, "cub", "resnet50")
    assert (record["protocol"], record["weights"]) == ("paper", "random")
    assert record["train_images"] == KINDS * 2  # 5 of a kind, 1 validates, half of the other 4
    assert record["test_images"] == KINDS * TEST
    assert record["metrics"]["accuracy"] * KINDS * TEST % 100 == 0
    assert record["validation"]["accuracy"] * KINDS % 100 == 0
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
    assert record["validation"]["accuracy"] in (0, 50, 100)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("missing", "1 of 28 images is missing or not a file below birds (first: images/002.Bird/Bird_0006.jpg)"),
        ("truncated", "an image cannot be read (images/002.Bird/Bird_0006.jpg: "),
    ],
)
def test_an_image_that_cannot_be_read_stops_before_training(here, capsys, damage, words):
    path = put_birds(here / "birds") / "images" / "002.Bird" / "Bird_0006.jpg"  # of the test set, which is read last
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000])
    assert cli.main(["method=finetune", "data=cub", "data.root=birds", *TINY]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("error: data cub: ")
    assert words in line
    assert not (here / "results").exists()


# TLlib's protocol, whose images keep their aspect ratio -------------------------------------------------------------


def tllib(birds: Path, cache: Path | None, **changes) -> tuple[Protocol, TargetData]:
    """The protocol, for smaller images, and its data; pixels are normalised to themselves divided by 255."""
    section = compose_config(["data=cub", "protocol=tllib"]).protocol
    values = {**section, "resize": 64, "crop": 48, "batch_size": 6, **changes}
    protocol = Protocol(**values)  # type: ignore[arg-type]
    data = target_data(
        read("cub", str(birds)),
        protocol,
        rate=1.0,
        seed=0,
        split_seed=0,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        device=torch.device("cpu"),
        folder=cache,
    )
    return protocol, data


def as_bytes(images: torch.Tensor) -> np.ndarray:
    """uint8 (..., H, W, C)."""
    return (images * 255).round().to(torch.uint8).movedim(-3, -1).numpy()


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("size", [(90, 51), (64, 64), (64, 65), (30, 41), (333, 100)])
def test_tllib_s_view_is_torchvision_s_resize_and_center_crop(tmp_path, cached, size):
    birds = put_birds(tmp_path)
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    files = read("cub", str(birds))
    for row in (*files.test, *files.train[:3]):
        Image.fromarray(noise).save(birds / files.files[row])
    _, data = tllib(birds, tmp_path / "cache" if cached else None)
    assert (len(data.plain), len(data.val), len(data.test)) == (KINDS * TRAIN, 0, KINDS * TEST)
    published = v2.Compose([v2.Resize(64), v2.CenterCrop(48)])
    for views, row in ((data.test, files.test[0]), (data.plain, files.train[1])):
        with Image.open(birds / files.files[row]) as image:
            expected = np.asarray(published(image.convert("RGB")))
        seen = as_bytes(views.take(np.array([0 if views is data.test else 1])))
        assert seen.shape == (1, 1, 48, 48, 3)
        np.testing.assert_array_equal(seen[0, 0], expected)


def test_tllib_trains_on_crops_of_the_original(tmp_path):
    birds = put_birds(tmp_path)
    files = read("cub", str(birds))
    for number, row in enumerate(files.train):  # each of another size
        pixels = np.random.default_rng(number).integers(0, 256, (40 + 3 * number, 90 - number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(birds / files.files[row])
    protocol, data = tllib(birds, tmp_path / "cache", flip=False)
    for step in (0, 1, 3):  # 20 images, 6 in a batch: step 3 begins another pass
        batch = data.train(step)
        positions = data.train.positions(step)
        np.testing.assert_array_equal(batch.labels, files.labels[files.train[positions]])
        draws = np.random.default_rng([0, 1, step]).random((6, 23))[:, :-1]
        for position, drawn, seen in zip(positions, draws, as_bytes(batch.inputs), strict=True):
            with Image.open(birds / files.files[files.train[position]]) as image:
                whole = image.convert("RGB")
            ((top, left, rows, columns),) = resized_crop_boxes(
                drawn[None], whole.height, whole.width, scale=protocol.scale, ratio=(3 / 4, 4 / 3)
            ).tolist()
            expected = functional.resized_crop(whole, top, left, rows, columns, [48, 48])  # pyright: ignore[reportArgumentType]
            np.testing.assert_array_equal(seen, np.asarray(expected))
            assert rows * columns > 0.18 * whole.height * whole.width  # at least 0.2, before rounding
    assert torch.equal(data.train(0).inputs, data.train(0).inputs)


def test_tllib_runs_and_asks_for_the_direct_relationship(here, capsys):
    put_birds(here / "birds")
    command = ["method=cotuning", "data=cub", "data.root=birds", "protocol=tllib", "rate=0.5", *TINY]
    assert cli.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs validation images" in line
    assert "method.relationship=direct" in line
    assert not (here / "results").exists()
    assert cli.main([*command, "method.relationship=direct", "method.calibrate=none"]) == 0
    record = only_record(here)
    assert (record["protocol"], record["validation"]) == ("tllib", {})
    assert record["train_images"] == KINDS * 3  # half of 5, rounded up
    assert len(list((here / "results" / "splits").iterdir())) == 2
