"""SpotTune and its relatives: formulas, routed blocks, frozen parts and policies."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from torch import Tensor, nn

from cotune_bench.api import load_backbone
from cotune_bench.errors import UserError
from cotune_bench.methods.policy_network import PolicyNetwork
from cotune_bench.methods.progressive import Progressive
from cotune_bench.methods.random_policy import RandomPolicy
from cotune_bench.methods.routing import routed, uniform_of
from cotune_bench.methods.spottune import SpotTune, gate, straight_through_gumbel
from cotune_bench.methods.spottune_global import SpotTuneGlobal, count_penalty, share_entropy
from cotune_bench.training.engine import fit

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
def test_a_real_network_is_routed(kind):
    method = kind(load_backbone("resnet18", weights="random"), 3)
    logits = method.train().predict(torch.randn(4, 3, 64, 64))
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
