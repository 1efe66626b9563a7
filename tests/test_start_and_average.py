"""Methods that change where fine-tuning starts, LP-FT, and which of its weights are evaluated, EMA."""

import dataclasses

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data

from cotune_bench.errors import UserError
from cotune_bench.methods.ema import EMA, average_decay
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.linear_probe import LinearProbe
from cotune_bench.methods.lp_ft import LPFT
from cotune_bench.training.engine import fit

GRID = {"grid": [0.01, 1.0], "without_validation": 0.1}


def test_fine_tuning_starts_at_the_head_of_the_probe(cache):
    probe, method = LinearProbe(make_backbone(), 3, **GRID), LPFT(make_backbone(), 3, **GRID)
    for one in (probe, method):
        one.prepare(make_data(), cache)
    assert torch.equal(method.head.weight, probe.head.weight)
    assert method.head.weight.abs().sum() > 0.1
    assert all(parameter.requires_grad for parameter in method.parameters())
    still = dataclasses.replace(PROTOCOL, lr=1e-12)
    fit(method, make_data(), still, seed=0, cache=cache)
    torch.testing.assert_close(method.head.weight, probe.head.weight)
    with pytest.raises(UserError, match=r"method.grid=\[\]"):
        LPFT(make_backbone(), 3, grid=[], without_validation=1.0)


def test_the_share_that_the_average_keeps_grows_to_its_value():
    assert [average_decay(number, 0.9) for number in (0, 8, 80, 81, 500)] == pytest.approx([0.1, 0.5, 0.9, 0.9, 0.9])
    assert average_decay(0, 0.05) == 0.05


def test_the_average_of_six_updates_is_that_of_the_weights_after_each(cache):
    states = []

    class Noting(EMA):
        def after_step(self) -> None:
            states.append({name: value.clone() for name, value in self.trunk.state_dict().items()})
            super().after_step()

    method = Noting(make_backbone(), 3, decay=0.3)
    expected = {name: value.clone() for name, value in method.trunk.state_dict().items()}
    fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
    for number, state in enumerate(states):
        decay = min(0.3, (1 + number) / (10 + number))
        for name, value in state.items():
            whole = name.endswith("num_batches_tracked")
            expected[name] = value if whole else decay * expected[name] + (1 - decay) * value
    torch.testing.assert_close(dict(method.plain()[0].state_dict()), expected)
    images = make_data().train(0).inputs
    trunk, head = method.eval().plain()
    assert torch.equal(method.predict(images), head(trunk(images)))
    assert not torch.equal(method.predict(images), method.head(method.trunk(images)))


def test_training_is_that_of_fine_tuning_and_no_decay_evaluates_the_last_weights(cache):
    plain, method = FineTune(make_backbone(), 3), EMA(make_backbone(), 3, decay=0.0)
    method.head.load_state_dict(plain.head.state_dict())
    for one in (plain, method):
        fit(one, make_data(), PROTOCOL, seed=0, cache=cache)
    images = make_data().train(0).inputs
    assert torch.equal(method.eval().predict(images), plain.eval().predict(images))
    with pytest.raises(UserError, match=r"method.decay=1.0 cannot be used"):
        EMA(make_backbone(), 3, decay=1.0)
