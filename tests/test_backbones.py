"""Real backbones against torchvision's own networks, and every way in which weights can be wrong."""

import csv
import hashlib
import http.server
import os
import pickle
import runpy
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms.functional import normalize

from cotune_bench.backbones import timm as timm_backbone
from cotune_bench.backbones import weights as weight_files
from cotune_bench.backbones.base import Backbone
from cotune_bench.backbones.torchvision import build as build_network
from cotune_bench.backbones.torchvision import load, with_current_names
from cotune_bench.backbones.weights import fetch, fill, read_state, source_temperature, state_sha256
from cotune_bench.config import PACKAGE, build, compose_config
from cotune_bench.errors import UserError
from cotune_bench.methods.attention import split_at

NAMES = ("resnet18", "resnet50", "resnet101", "densenet121", "inception_v3")
BLOCKS = {"resnet18": 8, "resnet50": 16, "resnet101": 33, "densenet121": 0, "inception_v3": 0}
TAPPED = {  # channels of the tapped maps
    "resnet18": [64, 128, 256, 512],
    "resnet50": [256, 512, 1024, 2048],
    "resnet101": [256, 512, 1024, 2048],
    "densenet121": [128, 256, 512, 32],
    "inception_v3": [],
}
TENCH = "tench"  # ImageNet's first class


def load_resnet18(cache: Path, weights: object = "V1", **options) -> Backbone:
    """ResNet-18 as its yaml would have it, with these weights."""
    values = {"temperature": None, "temperature_logits": None, "taps": ["layer4.1.conv2"], **options}
    return load("resnet18", cache, model="resnet18", weights=str(weights), **values)


def one_line(error: pytest.ExceptionInfo) -> str:
    """The message of an error, which must be one line."""
    assert "\n" not in str(error.value)
    return str(error.value)


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


@pytest.fixture(scope="module")
def weights18(tmp_path_factory) -> Path:
    """A file of ResNet-18 weights with 7 classes, named by its hash as torchvision does."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(build_network("resnet18", 7).state_dict(), folder / "new.pth")
    sha = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    return (folder / "new.pth").rename(folder / f"resnet18-{sha[:8]}.pth")


def images(name: str) -> torch.Tensor:
    """Two random images, as small as the network allows."""
    size = 96 if name == "inception_v3" else 64
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2))


# Networks ---------------------------------------------------------------------------------------------------------


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
    assert torch.equal(backbone(x), expected)
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
        assert torch.equal(after(inputs), features)
        assert torch.equal(inputs, kept)  # so that the same inputs serve every filter


def test_layers_and_source_are_told(backbone):
    assert len(backbone.blocks) == BLOCKS[backbone.name]
    convolutions = [backbone.trunk.get_submodule(layer) for layer in backbone.taps]
    assert [convolution.weight.shape[0] for convolution in convolutions] == TAPPED[backbone.name]
    assert not any(name.endswith(("fc", "classifier")) for name, _ in backbone.trunk.named_modules())
    assert not any("AuxLogits" in name for name, _ in backbone.named_modules())
    info = backbone.info
    assert info.weights == "random"
    assert len(info.sha256) == 64
    assert len(info.classes) == backbone.source_head.out_features == 1000
    assert info.classes[0] == TENCH
    assert info.temperature == 1
    assert info.mean == ((0.5, 0.5, 0.5) if backbone.name == "inception_v3" else (0.485, 0.456, 0.406))


def test_resnet_blocks_are_in_order(tmp_path):
    backbone = load_resnet18(tmp_path, "random")
    assert backbone.blocks == tuple(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1))


def test_inception_drops_features_in_training_alone():
    section = compose_config(["backbone=inception_v3", "backbone.weights=random"]).backbone
    trunk = build(section, cache=Path("unused")).trunk
    tail = nn.Sequential(trunk.get_submodule("dropout"), trunk.get_submodule("flatten"))
    ones = torch.ones(1, 2048, 1, 1)
    assert 800 < int((tail.train()(ones) == 0).sum()) < 1250
    assert torch.equal(tail.eval()(ones), torch.ones(1, 2048))


def test_random_weights_do_not_hang_on_the_seed_nor_move_it(tmp_path):
    torch.manual_seed(3)
    first = load_resnet18(tmp_path, "random")
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)
    second = load_resnet18(tmp_path, "random")
    assert first.info == second.info
    assert torch.equal(first.trunk.get_submodule("conv1").weight, second.trunk.get_submodule("conv1").weight)
    assert not any(tmp_path.iterdir())


def test_state_hash_sees_names_and_values():
    state = {"a": torch.ones(2), "b": torch.tensor(1)}
    expected = hashlib.sha256(b"a" + np.ones(2, np.float32).tobytes() + b"b" + np.int64(1).tobytes()).hexdigest()
    assert state_sha256(state) == expected
    assert state_sha256({**state, "a": torch.tensor([1.0, 1.1])}) != expected
    assert state_sha256({"a": state["a"], "c": state["b"]}) != expected


# Files of weights -------------------------------------------------------------------------------------------------


def test_weights_of_a_file_are_loaded(tmp_path, weights18):
    backbone = load_resnet18(tmp_path, weights18)
    state = torch.load(weights18, weights_only=True)
    assert torch.equal(backbone.source_head.weight, state["fc.weight"])
    assert torch.equal(backbone.trunk.state_dict()["layer4.1.bn2.weight"], state["layer4.1.bn2.weight"])
    assert backbone.info.weights == weights18.name
    assert backbone.info.sha256 == hashlib.sha256(weights18.read_bytes()).hexdigest()
    assert backbone.info.classes[:2] == ("source class 0", "source class 1")
    assert len(backbone.info.classes) == 7


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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layer1.0.conv1.weight": None, "bn1.bias": None}, "2 missing (bn1.bias, layer1.0.conv1.weight)"),
        ({"extra": torch.ones(1)}, "1 unexpected (extra)"),
        ({"bn1.bias": torch.ones(3)}, "1 of another shape (bn1.bias)"),
        ({f"extra{n}": torch.ones(1) for n in range(5)}, "5 unexpected (extra0, extra1, extra2, ...)"),
    ],
)
def test_weights_of_another_architecture_are_named(tmp_path, change, told):
    network = build_network("resnet18", 7)
    before = state_sha256(network.state_dict())
    state = {key: value + 1 for key, value in network.state_dict().items()} | change
    with pytest.raises(UserError) as error:
        fill(network, {key: value for key, value in state.items() if value is not None}, tmp_path, "resnet18")
    assert f"does not fit resnet18: {told}: give weights of this architecture" in one_line(error)
    assert state_sha256(network.state_dict()) == before


def test_resnet50_does_not_take_resnet18(tmp_path, weights18):
    # ResNet-50 has 267 tensors, all 102 of ResNet-18 among them by name
    options = {"temperature": None, "temperature_logits": None, "taps": []}
    with pytest.raises(UserError, match=r"resnet50: 165 missing .* 24 of another shape") as error:
        load("r", tmp_path, model="resnet50", weights=str(weights18), **options)
    assert len(one_line(error)) < 500


class Malicious:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_pickle_with_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": torch.ones(1), "x": Malicious()}, "evil.pth")
    Path("plain.pth").write_bytes(pickle.dumps(Malicious()))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(UserError, match="no file of named tensors") as error:
            read_state(Path(name))
        one_line(error)
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"file\.pth is no file of named tensors") as error:
        read_state(path)
    one_line(error)


def test_a_training_checkpoint_is_refused_with_its_entries(tmp_path):
    torch.save({"epoch": 3, "state_dict": {"fc.weight": torch.ones(1)}}, tmp_path / "last.pth")
    with pytest.raises(UserError, match="it holds the entries epoch, state_dict"):
        read_state(tmp_path / "last.pth")


def test_unknown_names_are_told_with_the_choices(tmp_path):
    with pytest.raises(UserError, match=r"weights=V2 is no file .* choose V1, random or the path"):
        load_resnet18(tmp_path, "V2")
    with pytest.raises(UserError, match="model=resnet5 is unknown: did you mean resnet50"):
        load("r", tmp_path, model="resnet5", weights="V1", temperature=None, temperature_logits=None, taps=[])
    with pytest.raises(UserError, match=r"model=vgg16 is unknown: .*backbone=timm"):
        load("v", tmp_path, model="vgg16", weights="V1", temperature=None, temperature_logits=None, taps=[])
    with pytest.raises(UserError, match=r"has no layer layer4\.2\.conv3"):
        load_resnet18(tmp_path, "random", taps=["layer4.2.conv3"])


def test_both_published_versions_have_names(monkeypatch, tmp_path, weights18):
    asked = []

    def note(url, folder, **_options):
        asked.append((url.rpartition("/")[2], folder))
        return weights18, "0676ba61"

    monkeypatch.setattr("cotune_bench.backbones.torchvision.fetch", note)
    with pytest.raises(UserError, match="does not fit resnet50"):
        load("r", tmp_path, model="resnet50", weights="V2", temperature=None, temperature_logits=None, taps=[])
    info = load_resnet18(tmp_path, "V1").info
    assert asked == [(name, tmp_path / "weights") for name in ("resnet50-11ad3fa6.pth", "resnet18-f37072fd.pth")]
    assert info.weights == "IMAGENET1K_V1"
    assert info.temperature == pytest.approx(1.1312, abs=1e-4)  # known by the hash


# Fetching ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path) -> Path:
    """A file in a folder ``models``, of more than one chunk and named by its hash."""
    content = b"weights" * 200_000
    path = tmp_path / "server" / "models" / f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def server(published):
    """Address of a local server of that folder, and the paths that were asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, code="-", size="-"):
            asked.append(self.path)

        def log_message(self, format, *values):
            pass

    handler = partial(Handler, directory=str(published.parents[1]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/models", asked
        running.shutdown()
        thread.join()


@pytest.fixture
def cache_folder(tmp_path) -> Path:
    """Where fetched files go."""
    return tmp_path / "cache" / "weights"


def visible(folder: Path) -> list[str]:
    """Names in a folder but for lock files."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_fetch_downloads_once(cache_folder, published, server):
    address, asked = server
    url = f"https://unreachable.invalid/{published.name}"
    for _ in range(2):
        path, sha = fetch(url, cache_folder, base_url=address)
        assert path.read_bytes() == published.read_bytes()
        assert sha == hashlib.sha256(published.read_bytes()).hexdigest()
    assert asked == [f"/models/{published.name}"]
    assert visible(cache_folder) == [published.name]


def test_missing_on_the_server_is_told(cache_folder, server):
    with pytest.raises(UserError, match=r"cannot download gone-01234567\.pth \(File not found\)") as error:
        fetch("https://unreachable.invalid/gone-01234567.pth", cache_folder, base_url=server[0])
    one_line(error)
    assert visible(cache_folder) == []


def test_published_weights_come_from_a_mirror_into_the_cache(tmp_path, published):
    name = models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / name).write_bytes(published.read_bytes())
    with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth has SHA-256 .*, not f37072fd") as error:
        load_resnet18(tmp_path / "cache", base_url=mirror.as_uri())
    bad = tmp_path / "cache" / "weights" / f"{name}.bad"
    assert str(bad) in one_line(error)
    assert bad.read_bytes() == published.read_bytes()
    assert visible(bad.parent) == [bad.name]


def test_a_cached_file_is_checked_again(cache_folder, published):
    base = published.parent.as_uri()
    path, _ = fetch(f"https://unreachable.invalid/{published.name}", cache_folder, base_url=base)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="kept aside"):
        fetch(f"https://unreachable.invalid/{published.name}", cache_folder, base_url=base)
    assert visible(cache_folder) == [f"{published.name}.bad"]
    path, _ = fetch(f"https://unreachable.invalid/{published.name}", cache_folder, base_url=base)
    assert path.read_bytes() == published.read_bytes()


def test_no_connection_is_one_line_with_the_way_round(cache_folder):
    name = "resnet50-0676ba61.pth"
    with pytest.raises(UserError, match="cannot download") as error:
        fetch(f"https://unreachable.invalid/{name}", cache_folder, base_url="http://127.0.0.1:9")
    assert one_line(error).endswith(f"fetch http://127.0.0.1:9/{name} by hand and put it at {cache_folder / name}")
    assert visible(cache_folder) == []


def test_a_broken_off_download_leaves_nothing(cache_folder, published, monkeypatch):
    original = weight_files.urllib.request.urlopen

    def promises_more(url, timeout):
        answer = original(url, timeout=timeout)
        answer.headers.replace_header("Content-Length", str(published.stat().st_size + 1))
        return answer

    monkeypatch.setattr(weight_files.urllib.request, "urlopen", promises_more)
    with pytest.raises(UserError, match=r"broke off after .* bytes"):
        fetch(f"https://unreachable.invalid/{published.name}", cache_folder, base_url=published.parent.as_uri())
    assert visible(cache_folder) == []


def test_a_name_without_hash_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not tell its hash"):
        fetch("https://unreachable.invalid/resnet50.pth", tmp_path)


# Temperature ------------------------------------------------------------------------------------------------------


def test_temperature_is_given_known_or_one():
    assert source_temperature(None, None, "0676ba61" + 56 * "0", 1000) == pytest.approx(1 / 0.8840456604957581)
    assert source_temperature(None, None, 64 * "0", 1000) == 1
    assert source_temperature(2, None, "0676ba61" + 56 * "0", 1000) == 2
    for wrong in (0, -1.0, float("inf"), True, "hot"):
        with pytest.raises(UserError, match=r"backbone\.temperature="):
            source_temperature(wrong, None, "", 1000)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="both given"):
        source_temperature(1.0, "file.npz", "", 1000)


def test_temperature_is_fitted_to_source_logits(tmp_path):
    # two classes, logit gap 4, right in 3 of 4 cases: the best gap is log(3), so t = 4 / log(3)
    path = tmp_path / "validation.npz"
    np.savez(path, logits=np.tile([4.0, 0.0], (4, 1)), labels=np.array([0, 0, 0, 1]))
    assert source_temperature(None, str(path), "0676ba61", 2) == pytest.approx(4 / np.log(3), rel=1e-6)
    with pytest.raises(UserError, match=r"shape \(4, 2\): one column for each of 1000"):
        source_temperature(None, str(path), "", 1000)


def test_unusable_logit_files_are_told(tmp_path):
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "other.npz", scores=np.ones(3))
    np.savez(tmp_path / "objects.npz", logits=np.array([None]), labels=np.ones(1))
    for name in ("absent.npz", "text.npz", "other.npz", "objects.npz"):
        with pytest.raises(UserError, match=f"temperature_logits=.*{name} cannot be read") as error:
            source_temperature(None, str(tmp_path / name), "", 2)
        one_line(error)


# timm -------------------------------------------------------------------------------------------------------------


def load_timm(cache: Path, model: str, weights: object = "random", **options) -> Backbone:
    """A timm model as its yaml would have it."""
    values = {"temperature": None, "temperature_logits": None, "blocks": [], "taps": [], **options}
    return timm_backbone.load("timm", cache, model=model, weights=str(weights), **values)


@pytest.fixture
def timm():
    """The real timm, where it is installed."""
    return pytest.importorskip("timm", reason="timm is an extra dependency: pip install -e '.[timm]'")


def test_missing_timm_is_told_with_the_remedy(tmp_path, monkeypatch):
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
    x = images("toy")
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
    x = images("resnet10t")
    with torch.no_grad():
        assert torch.equal(backbone(x), reference(x))
    assert backbone.info.weights == "random"
    assert backbone.info.classes[0] == TENCH
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


# Parameter shares -------------------------------------------------------------------------------------------------


def test_parameter_shares_agree_with_the_slides(capsys):
    runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "parameter_shares.py"), run_name="__main__")
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
