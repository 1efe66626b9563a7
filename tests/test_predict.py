"""Pictures predicted as the run's own test images are, and the script as a user calls it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from kept_runs import DESK, FOLDER, kept, put_digits, put_pets, train
from PIL import Image
from torch.nn.functional import cross_entropy

from cotune_bench import cli
from cotune_bench.cli.predict import image_files
from cotune_bench.config import build, compose_config
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.readers.aircraft import BANNER
from cotune_bench.inference.kept_network import TEXT, Kept
from cotune_bench.inference.predict import Grey, Predictor, predict_files
from cotune_bench.storage.find_run import find_run
from cotune_bench.training.experiment import Experiment

CPU = torch.device("cpu")


@pytest.fixture
def digits(kept_results) -> Kept:
    """A desk run of Co-Tuning."""
    return kept(kept_results, "digits")


@pytest.fixture
def here(kept_here) -> Path:
    """A folder with kept runs under results/ and 30 test digits as files."""
    put_digits(kept_here / "pictures", np.arange(1000, 1030))
    return kept_here


def ask(*arguments: str) -> int:
    return cli.main(["predict", *arguments])


def scores(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Accuracy in percent and negative log-likelihood."""
    return 100 * (logits.argmax(1) == labels).sum().item() / len(labels), cross_entropy(logits, labels).item()


# The path of the test images ---------------------------------------------------------------------------------------


def test_the_digits_as_files_score_what_the_record_states(digits, tmp_path):
    files, ignored = image_files([str(put_digits(tmp_path / "digits"))])
    good, predicted, bad = predict_files(Predictor.of(digits, CPU), files)
    assert (len(good), ignored, bad) == (899, 0, [])
    labels = torch.tensor([digits.classes.index(file.parent.name) for file in good])
    record = find_run(digits.folder.parents[1], digits.card["key"]).record
    assert record
    accuracy, nll = scores(predicted.logits, labels)
    assert accuracy == record.accuracy > 40
    assert nll == pytest.approx(record.nll, rel=1e-6)  # the files come in another order


@pytest.mark.parametrize("mode", ["squash", "short_side"])
def test_a_folder_s_test_pictures_give_the_very_logits_of_the_run(tmp_path, mode):
    kept, files, images = pets_run(tmp_path, f"protocol.resize_mode={mode}")
    assert kept.card["input"]["views"] == "official10"
    _, predicted, _ = predict_files(Predictor.of(kept, CPU), files)
    accuracy, nll = scores(predicted.logits, torch.from_numpy(images.labels[images.test]))
    assert accuracy == kept.card["accuracy"]
    assert nll == pytest.approx(kept.card["nll"], rel=1e-6)
    mean = torch.softmax(predicted.logits.double() / 10, 1)
    np.testing.assert_allclose(predicted.probabilities, mean, rtol=1e-12)
    _, center, _ = predict_files(Predictor.of(kept, CPU, views="center"), files)
    assert not np.allclose(center.probabilities, predicted.probabilities, rtol=1e-6)


def pets_run(place: Path, *overrides: str) -> tuple[Kept, list[Path], ImageList]:
    """A fine-tuned ResNet-18 on folders of pictures, and its test pictures."""
    root = put_pets(place / "pets")
    settings = [*FOLDER, f"data.root={root}", "method=finetune", *overrides]
    images = build(compose_config(settings).data)
    return train(place, *settings), [root / images.files[row] for row in images.test], images


def test_a_run_in_bf16_is_predicted_in_bf16_and_in_its_memory_layout(tmp_path):
    kept, files, images = pets_run(tmp_path, "precision=bf16")
    assert "| computed in | bf16, channels last |" in (kept.folder / TEXT).read_text(encoding="utf-8")
    predictor = Predictor.of(kept, CPU)
    assert predictor.method.get_parameter("trunk.conv1.weight").is_contiguous(memory_format=torch.channels_last)
    _, predicted, _ = predict_files(predictor, files)
    labels = torch.from_numpy(images.labels[images.test])
    assert scores(predicted.logits, labels)[1] == pytest.approx(kept.card["nll"], rel=1e-6)
    _, exact, _ = predict_files(Predictor.of(Kept(kept.folder, kept.card | {"precision": "fp32"}), CPU), files)
    difference = (exact.logits - predicted.logits).abs().max() / exact.logits.abs().max()
    assert 1e-4 < difference < 0.1


def test_rows_that_the_reader_cuts_off_are_cut_off_here_too(digits, tmp_path):
    (file,) = put_digits(tmp_path, np.array([1000])).rglob("*.png")
    pixels = np.asarray(Image.open(file))
    framed = tmp_path / "framed.png"
    Image.fromarray(np.vstack([pixels, np.full((BANNER, 8), 255, np.uint8)])).save(framed)
    cutting = Kept(digits.folder, digits.card | {"input": digits.card["input"] | {"crop_bottom": BANNER}})
    _, plain, _ = predict_files(Predictor.of(digits, CPU), [file])
    _, cut, _ = predict_files(Predictor.of(cutting, CPU), [framed])
    torch.testing.assert_close(plain.logits, cut.logits)


def test_explaining_asks_the_source_head_and_changes_no_prediction(digits, tmp_path, monkeypatch):
    files, _ = image_files([str(put_digits(tmp_path, np.arange(900, 920)))])
    _, plain, _ = predict_files(Predictor.of(digits, CPU), files)
    _, explained, _ = predict_files(Predictor.of(digits, CPU, explain=True), files)
    assert plain.source is None
    torch.testing.assert_close(plain.logits, explained.logits)
    place = digits.folder.parents[2]
    experiment = Experiment.build(
        compose_config([*DESK, f"cache={place / 'cache'}", f"results={place}", "device=cpu"])
    )
    method = digits.method()
    images = np.stack([np.asarray(Image.open(file)) for file in files])[..., None]
    with torch.no_grad():
        logits = method.get_submodule("source_head")(method.trunk(experiment.data.test.normalize(images)))
    np.testing.assert_allclose(explained.source, torch.softmax(logits.double(), 1), rtol=1e-5)


def test_grey_is_what_pil_makes_of_colours():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels[1]).convert("L"))[..., None]
    np.testing.assert_array_equal(Grey(pixels)[np.array([1])][0], expected)
    np.testing.assert_array_equal(Grey(pixels[..., :1])[np.array([0])], pixels[:1, ..., :1])


# The script --------------------------------------------------------------------------------------------------------


def test_a_table_names_every_file_with_its_classes(here, capsys):
    assert ask("digits", "pictures", "--top", "2") == 0
    out, error = capsys.readouterr()
    assert error == ""
    assert [line.split()[0] for line in out.splitlines()] == [
        str(path) for path in sorted(Path("pictures").rglob("*.png"))
    ]
    assert out.count(" %") == 60
    assert ask("digits", "--explain", "--top", "1", str(next(Path("pictures").rglob("*.png")))) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("pictures/")
    assert second.strip().startswith("resembles ")


def test_json_lines_hold_probabilities_that_sum_to_one(here, capsys):
    assert ask("digits", "pictures", "--json", "--top", "10", "--explain") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 30
    for line in lines:
        shares = [entry["probability"] for entry in line["top"]]
        assert sum(shares) == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)
        assert len(line["resembles"]) == 10
    assert {entry["class"] for entry in lines[0]["top"]} == set("0123456789")


def test_what_is_no_picture_is_named_and_counted_and_left_out_on_demand(here, capsys):
    (here / "pictures" / "0" / "broken.png").write_bytes(b"\x89PNG")
    (here / "pictures" / "0" / ".hidden.png").write_bytes(b"no")
    (here / "pictures" / "notes.txt").write_text("mine")
    assert ask("digits", "pictures") == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: 1 of 31 files are no readable images (pictures/0/broken.png: ")
    assert error.endswith("leave them out, as --skip-bad does\n")
    assert ask("digits", "pictures", "--skip-bad") == 0
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 30
    assert "left out pictures/0/broken.png" in error
    assert "30 pictures predicted, 1 unreadable and 1 other files left out" in error
    names = [f"{number}.png" for number in range(5)]
    for name in names:
        (here / name).write_text("no")
    assert ask("digits", *names, "--skip-bad") == 2
    error = capsys.readouterr().err
    assert "5 of 5 files" in error
    assert error.endswith("and 2 more): there is nothing else to predict\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("digits", "nowhere"), "nowhere is no file and no folder"),
        (("digits", "empty"), "empty holds no images"),
        (("digits", "pictures", "--top", "0"), "--top 0 cannot be used"),
        (("digits", "pictures", "--views", "ten"), "invalid choice: 'ten'"),
        (("digits",), "images"),
        (("unknown", "pictures"), "unknown is no run of results (2 there)"),
        (("digits", "pictures", "device=abacus"), "device=abacus cannot be used"),
        (("digits", "pictures", "results=elsewhere"), "is no run of elsewhere"),
    ],
)
def test_bad_input_is_reported_in_one_line(here, capsys, arguments, told):
    (here / "empty").mkdir()
    assert ask(*arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert told in line
