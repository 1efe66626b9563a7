"""Pre-trained weights: every way in which a file, a download or a temperature can be wrong."""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models

from cotune_bench.backbones.base import Backbone, state_sha256
from cotune_bench.backbones.torchvision import build as build_network
from cotune_bench.backbones.torchvision import load
from cotune_bench.backbones.weights import fetch, fill, read_state, source_temperature
from cotune_bench.errors import UserError
from cotune_bench.methods.cotuning import CoTuning


def load_resnet18(cache: Path, weights: object = "V1", **options) -> Backbone:
    """ResNet-18 as its yaml would have it, with these weights."""
    values = {"temperature": None, "temperature_logits": None, "taps": ["layer4.1.conv2"], **options}
    return load("resnet18", cache, model="resnet18", weights=str(weights), **values)


def one_line(error: pytest.ExceptionInfo) -> str:
    """The message of an error, which must be one line."""
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def weights18(tmp_path_factory) -> Path:
    """A file of ResNet-18 weights with 7 classes, named by its hash as torchvision does."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(build_network("resnet18", 7).state_dict(), folder / "new.pth")
    sha = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    return (folder / "new.pth").rename(folder / f"resnet18-{sha[:8]}.pth")


def test_weights_of_a_file_are_loaded(tmp_path, weights18):
    backbone = load_resnet18(tmp_path, weights18)
    state = torch.load(weights18, weights_only=True)
    assert torch.equal(backbone.source_head.weight, state["fc.weight"])
    assert torch.equal(backbone.trunk.state_dict()["layer4.1.bn2.weight"], state["layer4.1.bn2.weight"])
    assert backbone.info.weights == weights18.name
    assert backbone.info.sha256 == hashlib.sha256(weights18.read_bytes()).hexdigest()
    assert backbone.info.classes[:2] == ("source class 0", "source class 1")
    assert len(backbone.info.classes) == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer1.0.conv1.weight": None, "bn1.bias": None}, "2 missing (bn1.bias, layer1.0.conv1.weight)"),
        ({"extra": torch.ones(1)}, "1 unexpected (extra)"),
        ({"bn1.bias": torch.ones(3)}, "1 of another shape (bn1.bias)"),
        ({f"extra{n}": torch.ones(1) for n in range(5)}, "5 unexpected (extra0, extra1, extra2, ...)"),
    ],
)
def test_weights_of_another_architecture_are_named(tmp_path, change, words):
    network = build_network("resnet18", 7)
    before = state_sha256(network.state_dict())
    state = {key: value + 1 for key, value in network.state_dict().items()} | change
    with pytest.raises(UserError) as error:
        fill(network, {key: value for key, value in state.items() if value is not None}, tmp_path, "resnet18")
    assert f"does not fit resnet18: {words}: give weights of this architecture" in one_line(error)
    assert state_sha256(network.state_dict()) == before


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


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04" + bytes(100), "checkpoint"])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    path = tmp_path / "file.pth"
    if content == "checkpoint":
        torch.save({"epoch": 3, "state_dict": {"fc.weight": torch.ones(1)}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"file\.pth is no file of named tensors") as error:
        read_state(path)
    assert ("it holds the entries epoch, state_dict" in one_line(error)) == (content == "checkpoint")


def load_resnet50(cache: Path, weights: str) -> Backbone:
    return load("r50", cache, model="resnet50", weights=weights, temperature=None, temperature_logits=None, taps=[])


@pytest.fixture(scope="module")
def trunk50() -> dict[str, torch.Tensor]:
    """A trunk of ResNet-50 under its own names, unlike the one of random weights."""
    return {key: value + 1 for key, value in build_network("resnet50", 2).state_dict().items() if key[:3] != "fc."}


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{key}": value for key, value in state.items()}


def test_mocos_query_encoder_is_a_trunk_without_source_head(tmp_path, trunk50):
    inside = prefixed("module.encoder_q.", trunk50) | {"module.queue": torch.ones(2, 3)}
    inside |= prefixed("module.encoder_k.", trunk50) | {"module.encoder_q.fc.weight": torch.ones(128, 2048)}
    (tmp_path / "weights").mkdir()
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": inside}, tmp_path / "weights" / "moco.pth.tar")
    backbone = load_resnet50(tmp_path, "moco.pth.tar")  # in the cache, beside published weights
    assert backbone.source_head is None
    assert (backbone.width, backbone.info.classes, backbone.info.weights) == (2048, (), "moco.pth.tar")
    loaded = backbone.trunk.state_dict()
    assert loaded.keys() == trunk50.keys()
    assert all(torch.equal(loaded[key], value) for key, value in trunk50.items())
    with pytest.raises(UserError, match=r"weights moco\.pth\.tar of backbone r50 have no classifier") as error:
        backbone(torch.zeros(1, 3, 32, 32))
    assert one_line(error).startswith("a prediction of source classes needs a source head")
    with pytest.raises(UserError, match="method cotuning needs a source head") as error:
        CoTuning(backbone, 3)
    one_line(error)


@pytest.mark.parametrize(
    ("name", "prefix", "url", "label"),
    [
        ("maskrcnn", "backbone.body.", "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", "maskrcnn COCO_V1"),
        ("keypointrcnn", "backbone.body.", "keypointrcnn_resnet50_fpn_coco-fc266e95.pth", "keypointrcnn COCO_V1"),
        ("deeplabv3", "backbone.", "deeplabv3_resnet50_coco-cd0a2569.pth", "deeplabv3 COCO_WITH_VOC_LABELS_V1"),
    ],
)
def test_trunks_of_other_tasks_are_loaded_by_name_and_hash(tmp_path, monkeypatch, trunk50, name, prefix, url, label):
    state = prefixed(prefix, {key: value for key, value in trunk50.items() if "num_batches" not in key})
    others = (
        {"backbone.fpn.x": torch.ones(1)} if prefix.endswith("body.") else {"aux_classifier.0.weight": torch.ones(1)}
    )
    torch.save(state | others | {"classifier.0.weight": torch.ones(3, 3)}, tmp_path / "file.pth")
    asked = []

    def fetched(address, *_given, **_options):
        asked.append(address.rpartition("/")[2])
        return tmp_path / "file.pth", "ab12"

    monkeypatch.setattr("cotune_bench.backbones.torchvision.fetch", fetched)
    backbone = load_resnet50(tmp_path, name)
    assert asked == [url]
    assert (backbone.source_head, backbone.info.weights, backbone.info.sha256) == (None, label, "ab12")
    assert torch.equal(backbone.trunk.state_dict()["layer4.2.conv3.weight"], trunk50["layer4.2.conv3.weight"])
    torch.save(prefixed(prefix, {"conv1.weight": trunk50["conv1.weight"]}), tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"does not fit the trunk of resnet50: \d+ missing"):
        load_resnet50(tmp_path, name)


def test_unknown_names_are_refused_with_the_choices(tmp_path):
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
    assert info.temperature_at(224) == pytest.approx(1.1312, abs=1e-4)  # known by the hash


def test_random_weights_neither_depend_on_the_global_seed_nor_change_it(tmp_path):
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


@pytest.fixture
def published(tmp_path) -> Path:
    """A file of a mirror, named by its hash."""
    content = b"weights" * 200_000
    path = tmp_path / "mirror" / f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def fetched(published: Path) -> tuple[Path, str]:
    url = f"https://unreachable.invalid/{published.name}"
    return fetch(url, published.parents[1] / "cache", base_url=published.parent.as_uri())


def visible(folder: Path) -> list[str]:
    """Names in a folder but for lock files."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_fetch_downloads_once_and_checks_at_every_call(published):
    content = published.read_bytes()
    path, sha = fetched(published)
    assert path.read_bytes() == content
    assert sha == hashlib.sha256(content).hexdigest()
    published.rename(published.with_suffix(".away"))
    assert fetched(published) == (path, sha)
    assert visible(path.parent) == [path.name]
    damaged = content[:5] + b"x" + content[6:]
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=rf"{path.name} has SHA-256 .*, not {sha[:8]}.*kept aside as") as error:
        fetched(published)
    one_line(error)
    assert visible(path.parent) == [f"{path.name}.bad"]
    assert (path.parent / f"{path.name}.bad").read_bytes() == damaged
    published.with_suffix(".away").rename(published)
    assert fetched(published)[0].read_bytes() == content


def test_published_weights_come_from_a_mirror_into_the_cache(tmp_path, published):
    name = models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    published.rename(published.with_name(name))
    with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth has SHA-256 .*, not f37072fd"):
        load_resnet18(tmp_path / "cache", base_url=published.parent.as_uri())
    assert visible(tmp_path / "cache" / "weights") == [f"{name}.bad"]


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:9", "file:///nowhere"])
def test_no_connection_and_no_file_are_one_line_with_the_way_round(tmp_path, mirror):
    name = "resnet50-0676ba61.pth"
    with pytest.raises(UserError, match=f"cannot download {name}") as error:
        fetch(f"https://unreachable.invalid/{name}", tmp_path, base_url=mirror)
    assert one_line(error).endswith(f"fetch {mirror}/{name} manually and put it at {tmp_path / name}")
    assert visible(tmp_path) == []


def test_a_name_without_hash_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not end in its hash"):
        fetch("https://unreachable.invalid/resnet50.pth", tmp_path)


def test_temperature_is_given_known_or_one():
    assert source_temperature(None, None, "0676ba61" + 56 * "0", 1000) == {224: pytest.approx(1 / 0.8840456604957581)}
    assert source_temperature(None, None, 64 * "0", 1000) == {}
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


def test_unusable_logit_files_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "other.npz", scores=np.ones(3))
    np.savez(tmp_path / "objects.npz", logits=np.array([None]), labels=np.ones(1))
    for name in ("absent.npz", "text.npz", "other.npz", "objects.npz"):
        with pytest.raises(UserError, match=f"temperature_logits=.*{name} cannot be read") as error:
            source_temperature(None, str(tmp_path / name), "", 2)
        one_line(error)
