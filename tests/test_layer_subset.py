"""Feature extractor, last-k and stochastic fine-tuning: which weights and statistics move, and what is cached."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from torch import nn

from cotune_bench.api import load_backbone
from cotune_bench.backbones.base import Backbone
from cotune_bench.config import compose_config
from cotune_bench.errors import UserError
from cotune_bench.methods.feature_extractor import FeatureExtractor
from cotune_bench.methods.last_k import LastK
from cotune_bench.methods.progressive import Progressive
from cotune_bench.methods.random_policy import RandomPolicy
from cotune_bench.methods.spottune import SpotTune
from cotune_bench.methods.spottune_global import SpotTuneGlobal
from cotune_bench.methods.stochastic_blocks import StochasticBlocks, random_half
from cotune_bench.training.engine import fit
from cotune_bench.training.experiment import Experiment

BLOCKS = ["layer1.0", "layer2.1"]  # of the small backbone; its stem is conv1
FLIPPED = replace(PROTOCOL, flip=True)


@pytest.mark.parametrize("kind", [LastK, StochasticBlocks, SpotTune, SpotTuneGlobal, RandomPolicy, Progressive])
def test_a_backbone_without_named_blocks_is_refused_in_one_line(kind):
    given = make_backbone()
    with pytest.raises(UserError, match=r"backbone bare names no residual blocks.*use glyphnet or ResNets"):
        kind(Backbone("bare", given.trunk, given.source_head, given.info), 3)


@pytest.mark.parametrize("k", [0, 3])
def test_no_more_blocks_train_than_there_are(k):
    with pytest.raises(UserError, match=rf"method.k={k} cannot be used: give 1 to 2, the blocks of tiny"):
        LastK(make_backbone(), 3, k=k)


@pytest.mark.parametrize(
    ("make", "trained"),
    [
        (FeatureExtractor, []),
        (lambda *given: LastK(*given, k=1), BLOCKS[1:]),
        (lambda *given: LastK(*given, k=2), BLOCKS),
    ],
)
def test_frozen_layers_keep_every_bit_and_trained_ones_none(make, trained, cache):
    method, source = make(make_backbone(), 3), make_backbone().trunk.state_dict()
    fit(method, make_data(protocol=FLIPPED), FLIPPED, seed=0, cache=cache)
    for name, value in method.trunk.state_dict().items():
        moves = name.rsplit(".", 2)[0] in trained
        assert moves != torch.equal(value, source[name]), name


@pytest.mark.parametrize("name", ["glyphnet", "resnet18"])
def test_blocks_of_real_networks_are_found(name):
    backbone = load_backbone(name, weights="random")
    last = backbone.blocks[-1]
    method = LastK(backbone, 3)
    trained = {key for key, value in method.trunk.named_parameters() if value.requires_grad}
    assert trained == {key for key, _ in method.trunk.named_parameters() if key.startswith(f"{last}.")} != set()
    layer = method.train().trunk.get_submodule(last)
    inside = set(layer.modules())
    for module in method.trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training == (module in inside)


@pytest.mark.parametrize(("count", "half"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8)])
def test_half_of_the_blocks_are_drawn_in_their_order(count, half):
    blocks = [f"block{number:02d}" for number in range(count)]
    drawn = random_half(blocks)
    assert len(set(drawn)) == half
    assert drawn == sorted(drawn)
    assert set(drawn) <= set(blocks)


def test_every_half_is_drawn_equally_often():
    torch.manual_seed(0)
    counts = Counter(tuple(random_half("abcd")) for _ in range(6000))
    assert set(counts) == set(combinations("abcd", 2))
    assert all(abs(count - 1000) < 5 * (6000 * 1 / 6 * 5 / 6) ** 0.5 for count in counts.values())


def test_the_draw_is_a_function_of_the_seed_and_is_kept(tmp_path):
    def drawn(seed: int) -> str:
        settings = ["method=stochastic_blocks", "data=digits", "backbone.weights=random", f"seed={seed}"]
        config = compose_config([*settings, f"results={tmp_path}", f"cache={tmp_path}"])
        return Experiment.build(config).method.artifacts()["trained_blocks.txt"]

    found = [drawn(seed) for seed in range(8)]
    assert found[:2] == [drawn(0), drawn(1)]
    assert set(found) == {f"layer{stage}.0\n" for stage in (1, 2, 3)}


def test_features_are_computed_once_where_images_are_not_augmented(cache):
    method, data = FeatureExtractor(make_backbone(), 3), make_data()
    torch.testing.assert_close(data.train(0).inputs, data.plain.take(data.train.positions(0))[:, 0], rtol=0, atol=0)
    passes = []
    method.trunk.conv1.register_forward_hook(lambda *_: passes.append(0))
    fit(method, data, PROTOCOL, seed=0, cache=cache)
    assert len(passes) == 1
    plain = FeatureExtractor(make_backbone(), 3)
    plain.load_state_dict(FeatureExtractor(make_backbone(), 3).state_dict())
    for one in (method, plain):
        one.train()
    plain.head.load_state_dict(method.head.state_dict())
    torch.testing.assert_close(method(data.train(1)), plain(data.train(1)))


@pytest.mark.parametrize("protocol", [FLIPPED, replace(PROTOCOL, augment="shift", shift=1)])
def test_augmented_images_are_computed_at_every_update(protocol, cache):
    method = FeatureExtractor(make_backbone(), 3)
    passes = []
    method.trunk.conv1.register_forward_hook(lambda *_: passes.append(0))
    fit(method, make_data(protocol=protocol), protocol, seed=0, cache=cache)
    assert len(passes) == protocol.updates
    assert not list(cache.folder.rglob("*.npz"))
