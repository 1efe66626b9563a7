"""SpotTune and its relatives: formulas, routed blocks, frozen parts, resume, variants, and a task made for it."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from filelock import FileLock
from PIL import Image
from torch import Tensor, nn

from cotune_bench.api import load_backbone
from cotune_bench.backbones.base import Backbone, SourceInfo
from cotune_bench.config import compose_config, run_key
from cotune_bench.data.dataset import Dataset
from cotune_bench.errors import UserError
from cotune_bench.inference.evaluate import evaluate
from cotune_bench.inference.policies import Policies, policies_of
from cotune_bench.methods.feature_extractor import FeatureExtractor
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.policy_network import PolicyNetwork
from cotune_bench.methods.progressive import Progressive
from cotune_bench.methods.random_policy import RandomPolicy
from cotune_bench.methods.routing import routed, uniform_of
from cotune_bench.methods.spottune import SpotTune, gate, straight_through_gumbel
from cotune_bench.methods.spottune_global import SpotTuneGlobal, count_penalty, share_entropy
from cotune_bench.storage.records import RecordStore
from cotune_bench.training.engine import fit
from cotune_bench.training.runner import run

SMALL = {"policy_size": 8, "policy_widths": (4,), "policy_blocks": 1}
KINDS = {
    "spottune": lambda *given, **more: SpotTune(*given, **SMALL, **more),
    "spottune_global": lambda *given, **more: SpotTuneGlobal(*given, k=1, **SMALL, **more),
    "random_policy": lambda *given, **more: RandomPolicy(*given, always=1, **more),
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def doubles(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Formulas -----------------------------------------------------------------------------------------------------------


def test_gate_of_a_worked_example_and_its_policy_gradient():
    shortcut, frozen, tuned = (
        doubles([1.0, 2.0], [3.0, 4.0]),
        doubles([10.0, 20.0], [30.0, 40.0]),
        doubles([0.5, -1.0], [7.0, 0.0]),
    )
    policy = doubles(0.0, 1.0).requires_grad_()
    out = gate(shortcut, frozen, tuned, policy)
    assert out.tolist() == [[11.0, 22.0], [10.0, 4.0]]
    assert out.dtype == torch.float64
    (out * doubles([1.0, 2.0], [3.0, -1.0])).sum().backward()
    # <tuned - frozen, dL/dout>: (0.5 - 10) * 1 + (-1 - 20) * 2 and (7 - 30) * 3 + (0 - 40) * -1
    assert policy.grad is not None
    assert policy.grad.tolist() == [-51.5, -29.0]
    half = gate(0.0, frozen, tuned, doubles(0.5, 0.25))
    assert half.tolist() == [[5.25, 9.5], [24.25, 30.0]]


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 1, 1, 1)])
def test_the_policy_of_maps_is_one_number_for_each_image(shape):
    frozen, tuned = torch.zeros(2, 3, 4, 5), torch.ones(2, 3, 4, 5)
    out = gate(0.0, frozen, tuned, torch.tensor([0, 1]).view(shape))
    assert torch.equal(out, torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 5))


def test_straight_through_gumbel_of_given_uniforms():
    # G = -log(-log u): of u = exp(-1) it is 0, of u = exp(-1/e) it is 1, of exp(-e^2) it is -2
    uniform = doubles([math.exp(-1), math.exp(-1 / math.e)], [math.exp(-1), math.exp(-math.exp(2))])
    logits = doubles([1.0, 0.5], [0.0, 1.0]).requires_grad_()
    drawn = straight_through_gumbel(logits, uniform, 5.0)
    assert drawn.tolist() == [[0.0, 1.0], [1.0, 0.0]]  # 1 + 0 < 0.5 + 1 and 0 + 0 > 1 - 2
    assert drawn.dtype == torch.float64
    drawn[:, 1].sum().backward()
    first, second = (1 / (1 + math.exp(-difference / 5)) for difference in (0.5, -1.0))
    slopes = [share * (1 - share) / 5 for share in (first, second)]
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, doubles([-slopes[0], slopes[0]], [-slopes[1], slopes[1]]))


def test_a_uniform_of_0_is_no_infinity():
    drawn = straight_through_gumbel(doubles([3.0, 0.0]), doubles([0.0, 0.5]), 1.0)
    assert drawn.tolist() == [[0.0, 1.0]]


def test_draws_have_the_probability_of_the_softmax_whatever_the_temperature():
    logits = torch.tensor([0.0, 1.0]).expand(40_000, 2)
    uniform = torch.rand(40_000, 2, generator=torch.Generator().manual_seed(0))
    shares = [straight_through_gumbel(logits, uniform, tau)[:, 1].mean().item() for tau in (0.1, 5.0)]
    wanted = 1 / (1 + math.exp(-1))
    assert shares[0] == shares[1] == pytest.approx(wanted, abs=5 * (wanted * (1 - wanted) / 40_000) ** 0.5)


def test_terms_of_global_k_of_a_worked_example():
    shares = doubles(0.0, 0.5, 0.25, 1.0).requires_grad_()
    assert count_penalty(shares, 3).item() == pytest.approx(1.25**2)
    entropy = share_entropy(shares)
    assert entropy.item() == pytest.approx(math.log(2) + 0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    entropy.backward()
    assert shares.grad is not None
    assert shares.grad.tolist() == pytest.approx([0, 0, math.log(3), 0])  # log((1 - v) / v)


# Routed blocks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [(0, 1, 1, 0, 1), (0, 0, 0, 0, 0), (1, 1, 1, 1, 1)])
@pytest.mark.parametrize("training", [False, True])
def test_a_routed_block_gives_what_the_plain_form_gives(policy, training):
    first, second = (make_backbone(seed).trunk.layer1[0].eval() for seed in (0, 1))
    second.train(training)
    maps, chosen = torch.randn(5, 4, 8, 8), torch.tensor(policy).float()
    plain = gate(0.0, first(maps), second(maps), chosen)
    statistics = second.bn1.running_mean.clone()
    torch.testing.assert_close(routed(maps, first, second, chosen), plain)
    assert torch.equal(statistics, second.bn1.running_mean) != training


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, maps: Tensor) -> Tensor:
        self.seen += len(maps)
        return 2 * maps


def test_a_copy_computes_the_images_that_use_it_alone():
    first, second = Counting().eval(), Counting().eval()
    maps = torch.arange(5.0)[:, None]
    routed(maps, first, second, torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0]))
    assert (first.seen, second.seen) == (3, 2)
    routed(maps, first, second, torch.ones(5))
    assert (first.seen, second.seen) == (3, 7)
    learning = torch.ones(5, requires_grad=True)
    routed(maps, first, second, learning)  # its gradient needs both
    assert (first.seen, second.seen) == (8, 12)


def test_numbers_of_an_image_depend_on_nothing_but_the_image():
    images = torch.randn(6, 1, 8, 8)
    numbers = uniform_of(images, 40)
    assert torch.equal(uniform_of(images[[4, 1]], 40), numbers[[4, 1]])
    assert numbers.unique().numel() == numbers.numel()
    assert numbers.mean().item() == pytest.approx(0.5, abs=5 / (12 * 240) ** 0.5)


@kinds
def test_a_policy_of_0_is_the_pre_trained_network_and_one_of_1_the_trained_trunk(kind, cache):
    method, data = kind(make_backbone(), 3), make_data()
    fit(method, data, PROTOCOL, seed=0, cache=cache)
    method.eval()
    images, count = data.train(0).inputs, len(method.routed_blocks)
    tuned = method.features_by(torch.ones(8, count), images)
    torch.testing.assert_close(tuned, method.trunk(images))
    if count == 2:
        frozen = method.features_by(torch.zeros(8, count), images)
        torch.testing.assert_close(frozen, make_backbone().trunk.eval()(images))
        assert not torch.allclose(frozen, tuned)


@kinds
def test_frozen_parts_keep_every_bit_batch_statistics_too(kind, cache):
    method, source = kind(make_backbone(), 3), make_backbone().trunk
    fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
    for name, kept in zip(method.routed_blocks, method.source, strict=True):
        for key, value in source.get_submodule(name).state_dict().items():
            assert torch.equal(kept.module.state_dict()[key], value)
    assert torch.equal(method.trunk.conv1.weight, source.conv1.weight)
    for name in method.blocks:
        for key, value in source.get_submodule(name).state_dict().items():
            assert not torch.equal(method.trunk.get_submodule(name).state_dict()[key], value)


@kinds
def test_as_released_the_batch_normalisation_of_frozen_blocks_and_the_stem_train(kind, cache):
    method, source = kind(make_backbone(), 3, frozen_bn="as_released"), make_backbone().trunk
    fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
    for name, kept in zip(method.routed_blocks, method.source, strict=True):
        for key, value in source.get_submodule(name).state_dict().items():
            assert torch.equal(kept.state_dict()[key], value) == key.startswith("conv")
    assert not torch.equal(method.trunk.conv1.weight, source.conv1.weight)


@pytest.mark.parametrize("kind", [*KINDS.values(), Progressive], ids=[*KINDS, "progressive"])
@pytest.mark.parametrize(("name", "shape"), [("glyphnet", (1, 8)), ("resnet18", (3, 64))])
def test_real_networks_are_routed(kind, name, shape):
    method = kind(load_backbone(name, weights="random"), 3)
    channels, side = shape
    logits = method.train().predict(torch.randn(4, channels, side, side))
    assert logits.shape == (4, 3)
    logits.sum().backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


# The policy ---------------------------------------------------------------------------------------------------------


def test_the_policy_network_has_its_own_rate_and_weight_decay():
    method = SpotTune(make_backbone(), 3, policy_lr=0.03, policy_weight_decay=0.002, **SMALL)
    (group,) = (one for one in method.param_groups(0.1, 0.1) if one["name"] == "policy")
    assert (group["lr"], group["weight_decay"]) == (0.03, 0.002)
    assert {id(p) for p in group["params"]} == {id(p) for p in method.policy_network.parameters()}


def test_large_images_are_reduced_for_the_policy_network():
    network = PolicyNetwork(3, 5, size=48, widths=(4, 8), blocks=1).eval()
    images = torch.randn(2, 3, 96, 96)
    assert network(images).shape == (2, 5, 2)
    smaller = nn.functional.interpolate(images, (48, 48), mode="bilinear", antialias=True)
    torch.testing.assert_close(network(images), network(smaller))


def test_test_policies_take_the_likelier_copy_draw_it_or_tune_all():
    method = SpotTune(make_backbone(), 3, **SMALL).eval()
    images = torch.randn(200, 1, 8, 8)
    linear = method.policy_network.layers.logits
    nn.init.zeros_(linear.weight)
    linear.bias.data = torch.tensor([0.0, 1.0, 0.5, 0.0])  # logits 0, 1 of the first block and 0.5, 0 of the second
    assert method.policy(images).unique(dim=0).tolist() == [[1.0, 0.0]]
    method.test_policy = "tuned"
    assert method.policy(images).unique(dim=0).tolist() == [[1.0, 1.0]]
    method.test_policy = "sample"
    shares = method.policy(images).mean(dim=0).tolist()
    assert shares == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(0.5))], abs=5 * 0.5 / 200**0.5)
    assert torch.equal(method.policy(images), method.policy(images))
    assert torch.equal(method.policy(images[:7]), method.policy(images)[:7])


def test_random_policy_tosses_a_fair_coin_for_every_image_and_block_but_the_last():
    method = RandomPolicy(load_backbone("glyphnet", weights="random"), 3, always=1)
    assert method.routed_blocks == ("layer1.0", "layer2.0")
    for mode in (True, False):
        coins = method.train(mode).policy(torch.randn(2000, 1, 8, 8))
        assert coins.unique().tolist() == [0, 1]
        assert coins.mean(dim=0).tolist() == pytest.approx([0.5, 0.5], abs=5 * 0.5 / 2000**0.5)
        assert (coins[:, 0] == coins[:, 1]).float().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / 2000**0.5)
    assert RandomPolicy(make_backbone(), 3, always=2).routed_blocks == ()
    with pytest.raises(UserError, match=r"method.always=3 cannot be used: give 0 to 2, the blocks of tiny"):
        RandomPolicy(make_backbone(), 3)
    chosen = method.eval().policies(torch.randn(3, 1, 8, 8))
    assert list(chosen) == ["layer1.0", "layer2.0", "layer3.0"]
    assert chosen["layer3.0"].tolist() == [1, 1, 1]


def test_global_k_follows_the_shares_of_its_blocks_and_fixes_the_largest():
    method = SpotTuneGlobal(make_backbone(), 3, k=1, count_weight=0.5, entropy_weight=0.25, **SMALL)
    linear = method.policy_network.layers.logits
    nn.init.zeros_(linear.weight)
    linear.bias.data = torch.tensor([40.0, 0.0, 0.0, 40.0])  # never the first block, always the second
    batch = make_data().train(0)
    terms = method.train()(batch)
    assert method.shares.tolist() == pytest.approx([0.495, 0.505])
    assert (terms["count"].item(), terms["entropy"].item()) == (0, 0)
    method.shares.copy_(torch.tensor([0.4, 0.3]))
    assert method.eval().policy(batch.inputs).unique(dim=0).tolist() == [[1, 0]]
    terms = method(batch)
    assert terms["count"].item() == 0
    assert SpotTuneGlobal(make_backbone(), 3, k=2, **SMALL).fixed().tolist() == [1, 1]
    with pytest.raises(UserError, match=r"method.k=3 cannot be used: give 1 to 2, the blocks of tiny"):
        SpotTuneGlobal(make_backbone(), 3, **SMALL)


def test_global_k_learns_to_use_k_blocks(cache):
    protocol = replace(PROTOCOL, updates=150, drop_at=(), batch_size=16)
    settings = {"count_weight": 5.0, "entropy_weight": 0.5, "policy_lr": 0.1}
    method, reports = SpotTuneGlobal(make_backbone(), 3, k=1, **settings, **SMALL), []
    note = {"report": lambda *given: reports.append(given[2]), "report_every": 30}
    fit(method, make_data(protocol=protocol), protocol, seed=0, cache=cache, **note)
    assert reports[-1]["count"] < 0.2 * reports[0]["count"]
    assert reports[-1]["entropy"] < 0.5 * reports[0]["entropy"]


# A task that needs both copies --------------------------------------------------------------------------------------


class Weights(nn.Module):
    """A linear layer that is no Sequential: one number of the means of four quarters of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1, bias=False)
        self.linear.weight.data = torch.tensor([[1.0, 0.0, 0.0, 0.0]])

    def forward(self, quarters: Tensor) -> Tensor:
        return self.linear(quarters)


def two_kinds() -> Dataset:
    """Half of the images have their class in the first quarter, which the frozen block reads, half in the second.

    The other quarter is noise, and the third says which half an image belongs to.
    """
    rng = np.random.default_rng(0)
    labels, kind = rng.integers(0, 2, 900), rng.integers(0, 2, 900)
    signal, noise = 60 + 135 * labels, rng.choice([60, 195], 900)
    quarters = np.stack([np.where(kind == 0, signal, noise), np.where(kind == 0, noise, signal), 255 * kind], axis=1)
    pixels = np.zeros((900, 8, 8, 1), dtype=np.uint8)
    pixels[:, :4, :4, 0] = quarters[:, 0, None, None]
    pixels[:, :4, 4:, 0] = quarters[:, 1, None, None]
    pixels[:, 4:, :4, 0] = quarters[:, 2, None, None]
    return Dataset(
        name="two-kinds",
        pixels=pixels,
        labels=labels,
        classes=("dark", "light"),
        train=np.arange(600),
        test=np.arange(600, 900),
    )


def one_number() -> Backbone:
    trunk = nn.Sequential()
    trunk.add_module("pool", nn.AdaptiveAvgPool2d(2))
    trunk.add_module("flatten", nn.Flatten())
    trunk.add_module("block", Weights())
    info = SourceInfo("random", "one-number", ("a",), (0.5,), (0.25,))
    return Backbone("one-number", trunk, nn.Linear(1, 1), info, blocks=("block",))


def test_routing_wins_where_half_of_the_images_need_the_frozen_features_and_half_new_ones(cache):
    protocol = replace(PROTOCOL, updates=400, drop_at=(300,), batch_size=32, lr=0.1, backbone_ratio=1.0)
    data, found = make_data(two_kinds(), protocol), {}
    for kind, settings in (
        (FeatureExtractor, {}),
        (FineTune, {}),
        (SpotTune, {"policy_lr": 0.1, **SMALL}),
    ):
        torch.manual_seed(0)
        method = kind(one_number(), 2, **settings)
        fit(method, data, protocol, seed=0, cache=cache)
        found[kind] = evaluate(method, data.test)[0]["accuracy"]
        if kind is SpotTune:
            chosen = policies_of(method, data.test)
    assert found[FeatureExtractor] < 85
    assert found[FineTune] < 85
    assert found[SpotTune] > 95
    assert chosen is not None
    assert 0.4 < chosen.tuned_blocks < 0.6


# Runs ---------------------------------------------------------------------------------------------------------------


def settings(folder: Path, *more: str) -> list[str]:
    small = ["policy_widths=[4]", "policy_blocks=1", "policy_lr=0.5"]
    values = [
        "data=digits",
        "rate=0.15",
        "protocol.updates=30",
        "method=spottune",
        *(f"method.{one}" for one in small),
    ]
    return [*values, f"results={folder}", *more]


def test_one_training_gives_the_records_that_each_variant_trained_alone_would_give(here):
    together, alone = RecordStore(here / "together"), RecordStore(here / "alone")
    config = compose_config(settings(together.results))
    assert run(config).state == "done"
    tuned = compose_config(settings(together.results, "method.test_policy=tuned"))
    assert run(tuned).state == "skipped"
    assert run(compose_config(settings(alone.results, "method.test_policy=tuned"))).state == "done"
    keys = {run_key(config), run_key(tuned)}
    found = [{one.key: one for one in store.read()[0]} for store in (together, alone)]
    assert set(found[0]) == set(found[1]) == keys
    for key in keys:
        first, second = (vars(records[key]) for records in found)
        timed = ("seconds", "finished", "environment")
        assert {name: first[name] for name in first if name not in timed} == {
            name: second[name] for name in second if name not in timed
        }
    chosen, all_tuned = (found[0][run_key(one)] for one in (config, tuned))
    assert chosen.config["method"]["test_policy"] == "argmax"
    assert all_tuned.config["method"]["test_policy"] == "tuned"
    assert all_tuned.metrics["tuned_blocks"] == 3
    assert 0 <= chosen.metrics["tuned_blocks"] < 3
    assert chosen.correct != all_tuned.correct
    trained = [path.parent.name for path in (together.results / "runs").rglob("metrics.csv")]
    assert trained == [run_key(config)]


def test_a_variant_of_a_run_that_another_process_trains_is_not_trained_again(here):
    configs = [compose_config(settings(here, f"method.test_policy={policy}")) for policy in ("argmax", "tuned")]
    for config in configs:
        lock = FileLock(here / "runs" / run_key(config) / "lock")
        lock_folder = Path(lock.lock_file).parent
        lock_folder.mkdir(parents=True, exist_ok=True)
    first = min(configs, key=run_key)
    other = max(configs, key=run_key)
    with FileLock(here / "runs" / run_key(first) / "lock"):
        assert run(other).state == "running elsewhere"


def test_what_the_policy_chose_is_kept_in_the_run_s_folder(here):
    config = compose_config(settings(here))
    run(config)
    folder = here / "runs" / run_key(config)
    overall, *classes = list(csv.DictReader((folder / "policy.csv").read_text().splitlines()))
    images = list(csv.DictReader((folder / "policy_images.csv").read_text().splitlines()))
    blocks = ["layer1.0", "layer2.0", "layer3.0"]
    assert (overall["class"], int(overall["images"])) == ("all", len(images))
    assert [row["class"] for row in classes] == list("0123456789")
    for row in (overall, *classes):
        rows = [one for one in images if row["class"] in ("all", one["class"])]
        assert int(row["images"]) == len(rows)
        for block in blocks:
            share = sum(float(one[block]) for one in rows) / len(rows)
            assert float(row[block]) == pytest.approx(share, abs=1e-5)
    record = json.loads((here / "records" / f"{run_key(config)}.json").read_text())
    mean = sum(float(overall[block]) for block in blocks)
    assert record["metrics"]["tuned_blocks"] == pytest.approx(mean, abs=1e-4)


def test_shares_of_a_worked_example():
    chosen = Policies(("a", "b"), np.array([[1.0, 0.5], [0.0, 0.5], [1.0, 1.0]]), np.array([2, 0, 2]))
    assert chosen.tuned_blocks == pytest.approx(4 / 3)
    texts = chosen.texts(("cat", "dog", "owl"))
    assert texts["policy.csv"].splitlines() == [
        "class,images,a,b",
        "all,3,0.666667,0.666667",
        "cat,1,0,0.5",
        "owl,2,1,0.75",
    ]
    rows = ["image,class,agreement,a,b", "0,owl,0.75,1,0.5", "1,cat,0.583333,0,0.5", "2,owl,0.666667,1,1"]
    assert texts["policy_images.csv"].splitlines() == rows


def test_the_sheet_shows_the_images_that_agree_most_and_those_that_agree_least():
    pixels = np.arange(12, dtype=np.uint8).repeat(16 * 16).reshape(12, 16, 16, 1)
    shares = np.linspace(1, 0, 12)[:, None] ** 8  # the mean is near 0: the last images agree most
    views = SimpleNamespace(images=SimpleNamespace(take=lambda rows: pixels[rows]))
    sheet = np.asarray(Image.open(io.BytesIO(Policies(("a",), shares, np.zeros(12, int)).sheet(views))))
    size = len(sheet) // 2
    shown = [
        [int(sheet[size * row + size // 2, size * column + size // 2]) for column in range(10)] for row in (0, 1)
    ]
    agreement = 1 - np.abs(shares - shares.mean())[:, 0]
    assert shown[0] == np.argsort(-agreement, kind="stable")[:10].tolist()
    assert shown[1] == np.argsort(-agreement, kind="stable")[::-1][:10].tolist()
    assert shown[1][0] == 0


def test_methods_that_choose_nothing_have_no_policy(cache):
    assert policies_of(FineTune(make_backbone(), 3), make_data().test) is None


def test_a_progressive_column_begins_as_the_pre_trained_network(cache):
    method = Progressive(make_backbone(), 3)
    images = make_data().train(0).inputs
    torch.testing.assert_close(method.eval().features(images), make_backbone().trunk.eval()(images))
    assert method.stages == ["layer1.0", "layer2.1"]
    fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
    for name, value in make_backbone().trunk.state_dict().items():
        assert torch.equal(method.source.module.state_dict()[name], value)
    moved = method.adapters[0].weight.detach()
    assert (moved[:, 4:] != 0).all()  # reads the frozen column


def test_a_progressive_column_may_start_at_random():
    method = Progressive(make_backbone(), 3, start="random")
    assert not torch.equal(method.trunk.conv1.weight, method.source.module.conv1.weight)
    assert {group["name"]: group["lr"] for group in method.param_groups(0.2, 0.1)} == {
        "pretrained": 0.2,
        "head": 0.2,
        "adapters": 0.2,
    }
    assert len(Progressive(load_backbone("resnet18", weights="random"), 3).adapters) == 4


def test_a_plain_trunk_of_global_k_has_the_fixed_copies(cache):
    method = SpotTuneGlobal(make_backbone(), 3, k=1, **SMALL)
    fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
    method.shares.copy_(torch.tensor([0.1, 0.9]))
    state, source = method.plain()[0].state_dict(), make_backbone().trunk.state_dict()
    for name, value in state.items():
        assert torch.equal(value, method.trunk.state_dict()[name] if name.startswith("layer2") else source[name])
