"""The glyph backbone: its parts, its shipped source networks, and training one here."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from cotune_bench.backbones import glyphnet, glyphnet_training
from cotune_bench.backbones.base import state_sha256, tap
from cotune_bench.backbones.glyphnet_training import Recipe
from cotune_bench.backbones.glyphs import DEJAVU, glyphs
from cotune_bench.config import build, compose_config
from cotune_bench.errors import UserError

GLYPHS: dict[str, Any] = {"weights": "glyphs", "seed": 0}
TINY = Recipe(per_class=2, held_out=1, updates=3, batch_size=64)


@pytest.fixture
def tiny(monkeypatch):
    """Training that takes a second."""
    real = glyphnet_training.pretrain
    monkeypatch.setattr(glyphnet_training, "RECIPE", TINY)
    monkeypatch.setattr(glyphnet_training, "pretrain", lambda seed, depth: real(seed, TINY, depth=depth))


def test_the_yaml_binds_and_brings_shipped_weights_without_a_cache(tmp_path):
    backbone = build(compose_config([]).backbone, cache=tmp_path)
    assert backbone.info.weights == "glyphs"
    assert backbone.info.temperature > 0
    assert not list(tmp_path.iterdir())
    children = ["conv1", "bn1", "relu", "layer1", "layer2", "layer3", "avgpool", "flatten"]
    assert list(dict(backbone.trunk.named_children())) == children
    assert backbone.blocks == ("layer1.0", "layer2.0", "layer3.0")
    assert backbone.taps == ("layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2")
    assert len(backbone.info.classes) == backbone.source_head.out_features
    assert all(value.dtype == torch.float32 for value in backbone.parameters())


def test_the_deeper_network_has_two_blocks_a_stage(tmp_path):
    config = compose_config(["backbone=glyphnet_deep", "backbone.weights=random"])
    backbone = build(config.backbone, cache=tmp_path)
    assert backbone.blocks == tuple(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1))
    assert backbone.taps == ("layer1.1.conv2", "layer2.1.conv2", "layer3.1.conv2")
    assert backbone(torch.zeros(2, 1, 8, 8)).shape == (2, len(glyphnet.CLASSES))
    assert backbone.plain is not None
    assert replace(backbone.plain, num_classes=5).fits(backbone.trunk, torch.nn.Linear(64, 5))
    seeds = glyphnet.shipped_seeds(depth=2)
    assert seeds == [0, 1, 2, 3]
    shipped = {
        glyphnet.load("glyphnet_deep", tmp_path, weights="glyphs", seed=one, depth=2).info.sha256 for one in seeds
    }
    assert len(shipped) == 4
    with pytest.raises(UserError, match=r"backbone.seed=4 has no shipped source network: choose 0 to 3"):
        glyphnet.load("glyphnet_deep", tmp_path, weights="glyphs", seed=4, depth=2)


def test_stages_halve_the_image(tmp_path):
    backbone = glyphnet.load("glyphnet", tmp_path, weights="random", seed=0)
    with tap(backbone.trunk, backbone.blocks) as outputs:
        assert backbone(torch.zeros(2, 1, 8, 8)).shape == (2, len(backbone.info.classes))
    assert [tuple(output.shape[1:]) for output in outputs.values()] == [(16, 8, 8), (32, 4, 4), (64, 2, 2)]
    assert backbone.width == 64
    assert not any(m.bias is not None for m in backbone.trunk.modules() if isinstance(m, torch.nn.Conv2d))


def test_shipped_networks_are_numbered_from_0_differ_and_fit_into_half_a_megabyte(tmp_path):
    seeds = glyphnet.shipped_seeds()
    assert seeds == list(range(len(seeds)))
    assert len(seeds) >= 10
    hashes = {glyphnet.load("glyphnet", tmp_path, weights="glyphs", seed=seed).info.sha256 for seed in seeds}
    assert len(hashes) == len(seeds)
    for path in glyphnet.SHIPPED.glob("*.safetensors"):
        assert path.stat().st_size < 500_000
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in glyphnet.Network(0).state_dict()}
            assert state_sha256(state) == file.metadata()["sha256"]


def test_a_shipped_network_names_glyphs_it_never_saw(tmp_path):
    backbone = glyphnet.load("glyphnet", tmp_path, **GLYPHS).eval()
    pixels, labels = glyphs(glyphnet.CLASSES, DEJAVU, 5, seed=12345)
    with torch.no_grad():
        logits = backbone(glyphnet_training.normalised(pixels)).numpy()
    assert np.mean(logits.argmax(1) == labels) > 0.8


def test_a_seed_without_a_shipped_network_is_refused(tmp_path):
    count = len(glyphnet.shipped_seeds())
    with pytest.raises(UserError, match=rf"seed={count} has no shipped source network: choose 0 to {count - 1}, or"):
        glyphnet.load("glyphnet", tmp_path, weights="glyphs", seed=count)


def test_random_weights_depend_on_the_seed_and_leave_the_global_generator_alone(tmp_path):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, other = (
        glyphnet.load("glyphnet", tmp_path, weights="random", seed=seed).info.sha256 for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert first == second != other


def test_training_is_repeatable_kept_and_leaves_threads_and_generator_alone(tiny, tmp_path, capsys, monkeypatch):
    torch.manual_seed(7)
    torch.set_num_threads(2)
    state = torch.get_rng_state()
    infos = [glyphnet.load("glyphnet", tmp_path / place, weights="train", seed=0).info for place in "ab"]
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert infos[0] == infos[1]
    assert infos[0].sha256 != glyphnet.load("glyphnet", tmp_path, weights="random", seed=0).info.sha256
    assert "of held-out glyphs right" in capsys.readouterr().err
    monkeypatch.setattr(glyphnet_training, "pretrain", None)  # would raise TypeError
    assert glyphnet.load("glyphnet", tmp_path / "a", weights="train", seed=0).info == infos[0]


def test_every_number_of_the_recipe_defines_the_cached_network(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(glyphnet_training, "pretrain", _untrained)

    def train(seed: int) -> int:
        glyphnet.load("glyphnet", tmp_path, weights="train", seed=seed)
        return len(list(tmp_path.glob("glyphnet/*.arrays")))

    assert [train(0), train(1), train(1)] == [1, 2, 2]
    for count, (number, value) in enumerate(vars(TINY).items(), start=3):
        monkeypatch.setattr(glyphnet_training, "RECIPE", Recipe(**{**vars(TINY), number: value * 2 + 1}))
        assert train(0) == count


def test_trained_weights_are_kept_in_half_precision_with_their_temperature(tmp_path, monkeypatch):
    monkeypatch.setattr(glyphnet_training, "pretrain", _untrained)
    backbone = glyphnet.load("glyphnet", tmp_path / "cache", weights="train", seed=3)
    assert backbone.info.temperature == 1.5
    theirs = glyphnet.Network(3).trunk.state_dict()
    for name, ours in backbone.trunk.state_dict().items():
        torch.testing.assert_close(ours, theirs[name], rtol=1e-3, atol=1e-6)


def test_unknown_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match="no weights imagenet: choose glyphs, train, random, letters, marks,"):
        glyphnet.load("glyphnet", tmp_path, weights="imagenet", seed=0)


def test_batches_are_shuffled_passes_without_a_rest():
    batches = list(glyphnet_training.batches(10, 4, updates=5, seed=0))
    assert [len(batch) for batch in batches] == [4] * 5
    for first, second in ((0, 1), (2, 3)):
        assert len(set(torch.cat([batches[first], batches[second]]).tolist())) == 8  # no image twice in a pass


def test_two_at_once_train_once(tmp_path, monkeypatch):
    calls = []

    def slow(seed, depth):
        calls.append(seed)
        time.sleep(0.3)
        return _untrained(seed, depth)

    monkeypatch.setattr(glyphnet_training, "pretrain", slow)
    with ThreadPoolExecutor(2) as pool:
        load = [pool.submit(glyphnet.load, "glyphnet", tmp_path, weights="train", seed=0) for _ in range(2)]
        infos = [future.result().info for future in load]
    assert calls == [0]
    assert infos[0].temperature == infos[1].temperature == 1.5


def _untrained(seed: int, depth: int) -> dict[str, np.ndarray]:
    return {
        **glyphnet_training.kept(glyphnet.Network(seed, depth)),
        "temperature": np.array(1.5),
        "accuracy": np.array(0.0),
    }
