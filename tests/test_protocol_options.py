"""Optimiser, schedule, label smoothing and mixup: what people try first, each an option of the protocol."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data

from cotune_bench.config import compose_config, key_of, run_config, run_key
from cotune_bench.config.keys import LATER_PROTOCOL
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.bi_tuning import BiTuning
from cotune_bench.methods.cotuning import CoTuning, soft_cross_entropy
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.lwf import LwF
from cotune_bench.training.engine import fit, make_optimizer, rate_factor

COSINE = dataclasses.replace(PROTOCOL, updates=10, warmup=0.2, schedule="cosine")
MIXED = dataclasses.replace(PROTOCOL, mixup=0.4)


def test_the_rate_rises_and_then_falls_along_half_a_cosine():
    factors = [rate_factor(COSINE, (4,), step) for step in range(10)]
    assert factors[:4] == pytest.approx([1 / 3, 2 / 3, 1, 0.5 * (1 + math.cos(math.pi / 8))])
    assert factors[6] == pytest.approx(0.5)
    assert 0 < factors[9] < 0.05
    steps = dataclasses.replace(COSINE, schedule="step")
    assert [rate_factor(steps, (4,), step) for step in (0, 2, 3, 4)] == pytest.approx([1 / 3, 1, 1, 0.1])
    assert [rate_factor(PROTOCOL, (4,), step) for step in (0, 3, 4)] == [1, 1, 0.1]


def test_adamw_has_the_groups_of_the_method_and_decays_weights_apart_from_the_gradient():
    protocol = dataclasses.replace(PROTOCOL, optimizer="adamw", nesterov=False, weight_decay=0.1, lr=0.01)
    method = FineTune(make_backbone(), 3)
    optimizer = make_optimizer(method, protocol)
    start = method.head.weight.detach().clone()
    method.head.weight.grad = torch.full_like(start, -7.0)
    optimizer.step()
    expected = start * (1 - 0.01 * 0.1) + 0.01  # the first step of Adam has the length of the rate
    torch.testing.assert_close(method.head.weight.detach(), expected)
    assert [(group["lr"], group["betas"]) for group in optimizer.param_groups] == [
        (pytest.approx(0.001), (0.9, 0.999)),
        (0.01, (0.9, 0.999)),
    ]


def test_label_smoothing_of_a_worked_example():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64))
    found = Classification(3, label_smoothing=0.3).loss(logits, torch.tensor([0]))
    expected = -(0.8 * math.log(0.7) + 0.1 * math.log(0.2) + 0.1 * math.log(0.1))
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert make_data(protocol=dataclasses.replace(PROTOCOL, label_smoothing=0.3)).task.label_smoothing == 0.3
    scores = Classification(3, label_smoothing=0.3).metrics(logits, torch.tensor([0]))
    assert scores["nll"] == pytest.approx(-math.log(0.7))  # of true labels


def test_mixup_mixes_images_and_labels_alike_and_is_a_function_of_seed_and_step():
    plain, mixed = make_data(), make_data(protocol=MIXED)
    for step in range(3):
        one, other = plain.train(step), mixed.train(step)
        rng = np.random.default_rng([0, 3, step])
        share = rng.beta(0.4, 0.4)
        order = torch.from_numpy(rng.permutation(8))
        torch.testing.assert_close(other.inputs, share * one.inputs + (1 - share) * one.inputs[order])
        expected = torch.zeros(8, 3)
        for row, (first, second) in enumerate(zip(one.labels, one.labels[order], strict=True)):
            expected[row, first] += share
            expected[row, second] += 1 - share
        torch.testing.assert_close(other.targets, expected)
        assert torch.equal(other.labels, one.labels)
        assert one.shares is None
        assert torch.equal(one.targets, one.labels)
    assert torch.equal(mixed.train(2).inputs, list(mixed.train.stream(1, 3))[1].inputs)
    twice = dataclasses.replace(mixed.train, views=2)(0)
    assert torch.equal(twice.inputs, twice.views[0])  # nothing is augmented: both views are mixed alike


def test_losses_of_mixed_images_are_mixed_losses(cache):
    data = make_data(protocol=MIXED)
    method, batch = CoTuning(make_backbone(), 3), data.train(1)
    method.prepare(data, cache)
    terms, features = method.eval()(batch), method.features(batch.inputs)
    ce, source = 0.0, 0.0
    for label in range(3):
        share, labels = batch.shares[:, label], torch.full((8,), label)
        ce += (share * torch.nn.functional.cross_entropy(method.head(features), labels, reduction="none")).mean()
        logits = method.source_head(features)
        rows = [soft_cross_entropy(logits[i : i + 1], method.relationship[label][None]) for i in range(8)]
        source += 2.3 * (share * torch.stack(rows)).mean()
    assert terms["ce"].item() == pytest.approx(ce.item(), rel=1e-5)
    assert terms["source"].item() == pytest.approx(source.item(), rel=1e-5)


def test_methods_that_know_single_images_refuse_mixed_ones():
    data = make_data(protocol=MIXED)
    with pytest.raises(UserError, match=r"use method.teacher_view=train"):
        LwF(make_backbone(), 3).check(data)
    LwF(make_backbone(), 3, teacher_view="train").check(data)
    with pytest.raises(UserError, match=r"use protocol.mixup=0"):
        BiTuning(make_backbone(), 3).check(data)


@pytest.mark.parametrize(
    "change", [{"mixup": 1.0}, {"label_smoothing": 0.1}, {"optimizer": "adamw", "nesterov": False}]
)
def test_each_option_changes_what_is_learnt(change, cache):
    states = []
    for protocol in (PROTOCOL, dataclasses.replace(PROTOCOL, **change)):
        data = make_data(protocol=protocol)
        method = FineTune(make_backbone(), data.task)
        torch.nn.init.zeros_(method.head.weight)
        fit(method, data, protocol, seed=0, cache=cache)
        states.append(method.head.weight.detach().clone())
    assert not torch.equal(*states)


def test_options_that_are_off_are_no_part_of_a_key():
    config = compose_config(["method=bss", "data=digits"])
    today = run_config(config)
    protocol = {name: value for name, value in today["protocol"].items() if name not in LATER_PROTOCOL}
    assert len(protocol) == len(today["protocol"]) - 5
    assert key_of({**today, "protocol": protocol}) == run_key(config) == "digits-bss-rate0.15-seed0-dc8a6c9f2b"
    for change in ("optimizer=adamw", "schedule=cosine", "warmup=0.1", "label_smoothing=0.1", "mixup=0.2"):
        more = ["protocol.nesterov=false"] if "adamw" in change else []
        other = run_key(compose_config(["method=bss", "data=digits", f"protocol.{change}", *more]))
        assert other != run_key(compose_config(["method=bss", "data=digits", *more]))


def test_modern_is_adamw_on_a_cosine_and_bad_values_are_refused():
    values = compose_config(["method=bss", "data=cub", "protocol=modern"]).protocol
    assert (values.optimizer, values.schedule, values.warmup) == ("adamw", "cosine", 0.05)
    for change, message in (
        ({"optimizer": "adam"}, "must be one of sgd, adamw"),
        ({"optimizer": "adamw"}, "protocol.nesterov=True cannot be used: it must be false for adamw"),
        ({"warmup": 1.0}, r"protocol.warmup=1.0 cannot be used: it must be in \[0, 1\)"),
        ({"mixup": -1.0}, "0 or more"),
    ):
        with pytest.raises(UserError, match=message):
            Protocol(**{**dataclasses.asdict(PROTOCOL), **change})
