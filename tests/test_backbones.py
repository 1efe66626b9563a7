"""Real backbones compute what torchvision's own networks do, and can be run in part."""

import csv
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms.functional import normalize

from cotune_bench import cli
from cotune_bench.backbones.base import Backbone, SourceInfo, state_sha256
from cotune_bench.backbones.torchvision import build as build_network
from cotune_bench.backbones.torchvision import load, with_current_names
from cotune_bench.config import PACKAGE, build, compose_config
from cotune_bench.methods.delta_attention import split_at

NAMES = ("resnet18", "resnet50", "resnet101", "densenet121", "inception_v3")
BLOCKS = {"resnet18": 8, "resnet50": 16, "resnet101": 33, "densenet121": 0, "inception_v3": 0}
TAPPED = {  # channels of the tapped maps
    "resnet18": [64, 128, 256, 512],
    "resnet50": [256, 512, 1024, 2048],
    "resnet101": [256, 512, 1024, 2048],
    "densenet121": [128, 256, 512, 32],
    "inception_v3": [],
}


@pytest.fixture(scope="module", params=NAMES)
def backbone(request, tmp_path_factory) -> Backbone:
    """Each of the configured networks, built from its yaml with random weights and lively batch statistics."""
    section = compose_config([f"backbone={request.param}", "backbone.weights=random"]).backbone
    made = build(section, cache=tmp_path_factory.mktemp("cache"))
    generator = torch.Generator().manual_seed(1)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return made.eval()


def images(name: str) -> torch.Tensor:
    """Two random images, as small as the network allows."""
    size = 96 if name == "inception_v3" else 64
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_backbone_computes_what_torchvision_does(backbone):
    options = {"aux_logits": False, "init_weights": False} if backbone.name == "inception_v3" else {}
    with torch.device("meta"):
        reference = models.get_model(backbone.name, weights=None, **options)
    head = "classifier" if backbone.name.startswith("densenet") else "fc"
    state = backbone.trunk.state_dict()
    state |= {f"{head}.{key}": value for key, value in backbone.source_head.state_dict().items()}
    reference.load_state_dict(state, assign=True)  # strict: the names are torchvision's
    reference.eval()
    x = images(backbone.name)
    expected = reference(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(backbone(x), expected)
    if backbone.name == "inception_v3":  # as published: ImageNet's statistics outside, undone inside
        reference.transform_input = True
        imagenet = normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        ours = normalize(x, list(backbone.info.mean), list(backbone.info.std))
        torch.testing.assert_close(backbone(ours), reference(imagenet), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_trunk_is_split_exactly_at_every_tap(backbone):
    x = images(backbone.name)
    features = backbone.trunk(x)
    assert features.shape == (2, backbone.width)
    for layer in backbone.taps:
        before, after = split_at(backbone.trunk, layer)
        convolution = backbone.trunk.get_submodule(layer)
        assert any(module is convolution for module in after.modules())
        assert not any(module is convolution for module in before.modules())
        assert len(list(before.modules())) > 1
        inputs = before(x)
        kept = inputs.clone()
        torch.testing.assert_close(after(inputs), features)
        assert torch.equal(inputs, kept)  # so that the same inputs serve every filter


def test_layers_and_source_are_reported(backbone):
    assert len(backbone.blocks) == BLOCKS[backbone.name]
    assert list(backbone.blocks) == sorted(backbone.blocks, key=lambda layer: [int(n) for n in layer[5:].split(".")])
    convolutions = [backbone.trunk.get_submodule(layer) for layer in backbone.taps]
    assert [convolution.weight.shape[0] for convolution in convolutions] == TAPPED[backbone.name]
    assert not any(name.endswith(("fc", "classifier")) for name, _ in backbone.trunk.named_modules())
    assert not any("AuxLogits" in name for name, _ in backbone.named_modules())
    info = backbone.info
    assert info.weights == "random"
    assert len(info.sha256) == 64
    assert len(info.classes) == backbone.source_head.out_features == 1000
    assert info.classes[0] == "tench"
    assert info.temperature_at(224) == 1
    assert info.mean == ((0.5, 0.5, 0.5) if backbone.name == "inception_v3" else (0.485, 0.456, 0.406))


def test_inception_drops_features_in_training_alone():
    section = compose_config(["backbone=inception_v3", "backbone.weights=random"]).backbone
    trunk = build(section, cache=Path("unused")).trunk
    tail = nn.Sequential(trunk.get_submodule("dropout"), trunk.get_submodule("flatten"))
    ones = torch.ones(1, 2048, 1, 1)
    assert 800 < int((tail.train()(ones) == 0).sum()) < 1250
    assert torch.equal(tail.eval()(ones), torch.ones(1, 2048))


def test_published_densenet_names_are_brought_up_to_date(tmp_path):
    state = build_network("densenet121").state_dict()
    older = {}
    for key, value in state.items():
        for layer in ("norm1", "norm2", "conv1", "conv2"):
            if ".denselayer" in key:
                key = key.replace(f".{layer}.", f".{layer[:-1]}.{layer[-1]}.")
        if not key.endswith("num_batches_tracked"):  # nor are these in the published file
            older[key] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    torch.save(older, tmp_path / "older.pth")
    options = {"temperature": None, "temperature_logits": None, "taps": []}
    backbone = load("d", tmp_path, model="densenet121", weights=str(tmp_path / "older.pth"), **options)
    assert state_sha256(backbone.trunk.state_dict()) == state_sha256(
        {key: value for key, value in state.items() if key.startswith("features.")}
    )


def test_auxiliary_classifier_in_a_file_is_left_out():
    assert list(with_current_names({"AuxLogits.fc.bias": torch.ones(1), "fc.bias": torch.ones(1)})) == ["fc.bias"]


def test_parameter_shares_agree_with_the_slides(capsys):
    assert cli.main(["parameter-shares"]) == 0
    table = capsys.readouterr().out.partition("What counts")[0]
    printed = {words[0]: words for line in table.splitlines() if (words := line.split())}
    with (PACKAGE / "paper" / "parameter_shares.csv").open(newline="") as file:
        published = list(csv.DictReader(file))
    assert len(published) == 4
    for row in published:
        specific, total = (int(text.replace(",", "")) for text in printed[row["model"]][1:3])
        assert f"{specific / 1e6:.1f}" == row["task_specific_params_m"]
        assert f"{total / 1e6:.1f}" == row["total_params_m"]
    assert printed["bert_base"][1:3] == ["22,890,052", "108,931,396"]


def test_a_temperature_belongs_to_a_crop(caplog):
    info = SourceInfo("V1", "0" * 64, ("a",), (0.5,), (0.5,), {224: 1.5})
    assert info.temperature_at(224) == 1.5
    assert not caplog.records
    assert info.temperature_at(128) == 1
    assert "not known for crops of 128 pixels" in caplog.text
    caplog.clear()
    assert SourceInfo("random", "0" * 64, ("a",), (0.5,), (0.5,), {}).temperature_at(128) == 1
    assert not caplog.records
