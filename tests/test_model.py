"""The trained network that a run keeps: when, what is in the files, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from kept_runs import put_pets, train
from trees import refused

from cotune_bench import cli
from cotune_bench.backbones.plain_network import Plain
from cotune_bench.config import CONF, build, choices, compose_config
from cotune_bench.data.dataset import Reader
from cotune_bench.data.readers import digits
from cotune_bench.inference import kept_network
from cotune_bench.inference.kept_network import TEXT, WEIGHTS, Kept, keep
from cotune_bench.inference.predict import Predictor, predict_labelled
from cotune_bench.methods.finetune import FineTune
from cotune_bench.storage.find_run import CARD, find_run, run_keys
from cotune_bench.training.experiment import Experiment

QUICK = ("data=digits", "backbone.weights=random", "protocol.updates=2", "protocol.threads=1", "device=cpu")
SMALL = ("backbone=resnet18", "backbone.weights=random", "protocol.updates=2", "protocol.batch_size=4",
         "protocol.resize=40", "protocol.crop=32", "protocol.threads=1", "device=cpu")  # fmt: skip


def only_run() -> Kept:
    """What the only run here has kept."""
    (key,) = run_keys(Path("results"))
    return Kept.of(find_run(Path("results"), key))


def files() -> set[str]:
    """Names in the folder of the only run."""
    (folder,) = Path("results", "runs").iterdir()
    return {path.name for path in folder.iterdir()} & {WEIGHTS, CARD, TEXT}


def test_people_s_own_images_keep_their_network_and_others_do_not(here):
    put_pets(here / "pets", ("cat", "dog"), 5)
    assert cli.main(["method=finetune", "data=folder", "data.root=pets", *SMALL]) == 0
    assert files() == {WEIGHTS, CARD, TEXT}
    for others in (QUICK, ("data=folder", "data.root=pets", *SMALL, "keep_checkpoint=false")):
        assert cli.main(["method=finetune", *others, "results=other"]) == 0
    assert len(list(here.glob("other/runs/*"))) == 2
    assert not list(here.glob("other/runs/*/model*"))


def test_a_run_that_did_not_keep_its_weights_says_how_to_get_them(here, capsys):
    command = ["method=finetune", *QUICK]
    assert cli.main(command) == 0
    refused(only_run, "has no kept weights", "keep_checkpoint=true force=true")
    capsys.readouterr()
    assert cli.main([*command, "keep_checkpoint=true"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "weights were not kept: force=true" in line
    assert cli.main([*command, "keep_checkpoint=true", "force=true"]) == 0
    record = find_run(Path("results"), "digits").record
    assert record
    assert only_run().card["finished"] == record.finished
    assert cli.main([*command, "keep_checkpoint=true"]) == 0


def test_there_is_no_record_before_the_weights_are_kept(here, monkeypatch):
    def fail(*_arguments) -> None:
        raise OSError("no space")

    monkeypatch.setattr(kept_network, "keep", fail)
    command = ["method=finetune", *QUICK, "keep_checkpoint=true"]
    assert cli.main(command) == 1
    assert find_run(Path("results"), "digits").record is None
    monkeypatch.undo()
    monkeypatch.setenv("COTUNE_CACHE", str(here / "cache"))
    monkeypatch.chdir(here)
    assert cli.main(command) == 0
    assert files() == {WEIGHTS, CARD, TEXT}


def test_a_method_without_a_network_is_not_kept(here, caplog, capsys):
    command = ["method=svm", *QUICK]
    assert cli.main([*command, "keep_checkpoint=true"]) == 2
    assert "method svm has no network that could be kept: set keep_checkpoint=false" in capsys.readouterr().err
    assert not (here / "results").exists()
    put_pets(here / "pets", ("cat", "dog"), 5)
    assert cli.main(["method=svm", "data=folder", "data.root=pets", *SMALL]) == 0
    assert "method svm has no network that could be kept" in caplog.text
    assert files() == set()


@pytest.fixture
def trained(tmp_path, monkeypatch) -> tuple[Experiment, Kept]:
    """A Co-Tuning run with random weights, and what it keeps."""
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    config = compose_config(["method=cotuning", *QUICK, f"results={tmp_path}"])
    experiment = Experiment.build(config)
    experiment.train()
    parts = experiment.method, experiment.backbone, experiment.data.classes, experiment.files
    keep(config, experiment.record(0), *parts, tmp_path)
    return experiment, Kept(tmp_path, json.loads((tmp_path / CARD).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", [name for name in choices("method") if name != "svm"])  # which has no network
def test_every_method_s_network_is_kept_and_predicts_what_its_run_scored(name, tmp_path, monkeypatch):
    images = digits.read("digits")
    images = replace(images, test=images.test[:100])
    monkeypatch.setattr(digits, "READER", Reader(lambda name: images))
    few = ("protocol.batch_size=16", "protocol.updates=3")
    random = ("data=digits", "rate=0.15", "backbone.weights=random", *few, "precision=bf16")
    section = yaml.safe_load((CONF / "method" / f"{name}.yaml").read_text(encoding="utf-8"))
    alone = []
    if "parts" in section:
        train(tmp_path, "method=finetune", *random)
        alone = ["zoo@method.sources=none"]
    kept = train(tmp_path, f"method={name}", *random, *alone)
    built = type(kept.method())
    assert f"{built.__module__}.{built.__name__}" == section["_target_"]
    predicted, rows, _ = predict_labelled(Predictor.of(kept, torch.device("cpu")), images)
    labels = images.labels[rows]
    nll = torch.nn.functional.cross_entropy(predicted.logits, torch.from_numpy(labels)).item()
    assert nll == pytest.approx(kept.card["nll"], rel=1e-6)
    if kept.card["network"] is None:
        refused(kept.plain, f"method {name} predicts with more than one plain network")


def test_the_cards_for_people_and_programs_agree(trained):
    experiment, kept = trained
    card, text = kept.card, (kept.folder / TEXT).read_text(encoding="utf-8")
    assert card["key"] == experiment.key
    assert kept.classes == tuple("0123456789")
    assert card["input"] == {
        "channels": 1, "resize": 8, "resize_mode": "squash", "resize_filter": "bicubic", "crop": 8, "views": "center",
        "upright": False, "crop_bottom": 0, "mean": [0.31], "std": [0.37],
    }  # fmt: skip
    assert card["source"]["licence"] == "No pre-trained weights were used."
    assert Plain(**card["network"]).to_dict() == card["network"]
    trade_off = experiment.config.method.trade_off
    for told in (
        card["key"],
        f"trade_off {trade_off}",
        f"{card['accuracy']:.2f} %",
        card["versions"]["torch"],
        "9. 9",
    ):
        assert told in text


def test_damaged_and_missing_files_are_named(trained):
    _, kept = trained
    path = kept.folder / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refused(kept.method, str(path), "is damaged", "force=true")
    path.unlink()
    refused(kept.method, str(path), "cannot be read", "force=true")


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "cannot be read"), ('{"schema": 9}', "no model card of this"), ("[]", "no model card of this")],
)
def test_a_damaged_card_is_named(here, content, told):
    folder = Path("results", "runs", "toy")
    folder.mkdir(parents=True)
    (folder / CARD).write_text(content, encoding="utf-8")
    refused(only_run, str(folder / CARD), told, "force=true")


def test_only_a_method_with_a_source_head_explains(here):
    assert cli.main(["method=finetune", *QUICK, "keep_checkpoint=true"]) == 0
    refused(lambda: Predictor.of(only_run(), torch.device("cpu"), explain=True), "trains no source head")


@pytest.mark.parametrize("model", ["resnet18", "densenet121", "inception_v3"])
def test_torchvision_s_own_network_computes_what_trunk_and_head_compute(model, tmp_path):
    section = compose_config([f"backbone={model}", "backbone.weights=random", "protocol=paper"]).backbone
    check_plain(section, tmp_path, size=80 if model == "inception_v3" else 48)


def test_timm_s_own_network_computes_what_trunk_and_head_compute(tmp_path):
    pytest.importorskip("timm", reason="timm is an extra dependency: pip install -e '.[timm]'")
    overrides = ["backbone=timm", "backbone.model=resnet10t.c3_in1k", "backbone.weights=random", "protocol=paper"]
    check_plain(compose_config(overrides).backbone, tmp_path, size=48)


def check_plain(section, cache: Path, size: int) -> None:
    """The library's network gives a method's logits."""
    backbone = build(section, cache=cache)
    method, plain = FineTune(backbone, 3).eval(), replace(backbone.plain, num_classes=3)
    assert plain.fits(method.trunk, method.head)
    assert not plain.fits(method.trunk, torch.nn.Linear(backbone.width, 4))
    network = plain.build()
    network.load_state_dict(plain.state(method.trunk, method.head))
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(images), method.predict(images))


def test_licences_name_where_weights_come_from():
    resnet = Plain("torchvision", "resnet18", "fc", 2)
    assert "torchvision" in resnet.licence("IMAGENET1K_V1")
    assert "mine.pth" in resnet.licence("mine.pth")
    assert "MIT" in Plain("glyphnet", "glyphnet", "head", 2).licence("glyphs")
