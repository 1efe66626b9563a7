"""timm's models as backbones; the tests that need timm itself are skipped where it is not installed."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cotune_bench.backbones import timm as timm_backbone
from cotune_bench.backbones.base import Backbone
from cotune_bench.config import build, compose_config
from cotune_bench.errors import UserError


def load_timm(cache: Path, model: str, weights: object = "random", **options) -> Backbone:
    """A timm model as its yaml would have it."""
    values = {"temperature": None, "temperature_logits": None, "blocks": [], "taps": [], **options}
    return timm_backbone.load("timm", cache, model=model, weights=str(weights), **values)


@pytest.fixture
def timm():
    """The real timm, where it is installed."""
    return pytest.importorskip("timm", reason="timm is an extra dependency: pip install -e '.[timm]'")


def test_missing_timm_is_reported_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    section = compose_config(["backbone=timm"]).backbone
    with pytest.raises(UserError, match=r"pip install -e '\.\[timm\]'"):
        build(section, cache=tmp_path)


class Toy(nn.Module):
    """A network with timm's interface: a linear classifier after global pooling, or something else."""

    pretrained_cfg = {"input_size": (3, 8, 8)}  # noqa: RUF012

    def __init__(self, classifier: nn.Module, *, scale: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = classifier
        self.scale = scale

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """Take the last layer away."""
        assert num_classes == 0
        self.fc = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scaled logits."""
        return self.scale * self.fc(self.norm(self.conv(images)).mean(dim=(2, 3)))


def test_take_apart_keeps_what_the_network_computes():
    network = Toy(nn.Linear(4, 5)).train()
    x = torch.rand(2, 3, 16, 16)
    expected = network.eval()(x)
    network.train()
    trunk, head = timm_backbone.take_apart(network, "toy")
    assert network.training
    assert torch.equal(network.norm.running_mean, torch.zeros(4))
    torch.testing.assert_close(head(trunk.eval()(x)), expected)
    assert "model.conv" in dict(trunk.named_modules())


def test_models_without_a_linear_classifier_are_refused():
    with pytest.raises(UserError, match="model=toy has no linear classifier but Sequential"):
        timm_backbone.take_apart(Toy(nn.Sequential(nn.Linear(4, 5))), "toy")
    with pytest.raises(UserError, match="does more after its features"):
        timm_backbone.take_apart(Toy(nn.Linear(4, 5), scale=2.0), "toy")


def test_timm_model_computes_what_timm_does(timm, tmp_path):
    taps = {"blocks": ["model.layer1.0"], "taps": ["model.layer4.0.conv2"]}
    backbone = load_timm(tmp_path, "resnet10t", **taps).eval()
    reference = timm.create_model("resnet10t").eval()
    reference.load_state_dict(
        {key.removeprefix("model."): value for key, value in backbone.trunk.state_dict().items()}
        | {f"fc.{key}": value for key, value in backbone.source_head.state_dict().items()}
    )
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), reference(x))
    assert backbone.info.weights == "random"
    assert backbone.info.classes[0] == "tench"
    assert backbone.info.sha256 == load_timm(tmp_path, "resnet10t").info.sha256
    torch.save(timm.create_model("resnet10t", num_classes=3).state_dict(), tmp_path / "three.pth")
    assert load_timm(tmp_path, "resnet10t", tmp_path / "three.pth").source_head.out_features == 3


def test_timm_transformer_is_taken_apart(timm, tmp_path):
    backbone = load_timm(tmp_path, "vit_tiny_patch16_224").eval()
    with torch.no_grad():
        assert backbone.trunk(torch.rand(1, 3, 224, 224)).shape == (1, 192)


def test_timm_errors_are_one_line(timm, tmp_path):
    with pytest.raises(UserError, match=r"model=resnet5 is unknown to timm .*did you mean"):
        load_timm(tmp_path, "resnet5")
    with pytest.raises(UserError, match="weights=V1 is no file: choose pretrained, random"):
        load_timm(tmp_path, "resnet10t", "V1")
    with pytest.raises(UserError, match="has no linear classifier"):
        load_timm(tmp_path, "deit_tiny_distilled_patch16_224")
