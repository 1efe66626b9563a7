"""Methods that change where fine-tuning starts, LP-FT, and which weights are evaluated, EMA and WiSE-FT."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from kept_runs import train

from cotune_bench.config import compose_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.inference.evaluate import evaluate
from cotune_bench.methods.ema import EMA, average_decay
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.linear_probe import LinearProbe
from cotune_bench.methods.lp_ft import LPFT
from cotune_bench.methods.wise_ft import ALPHAS, WiseFT, interpolated
from cotune_bench.storage.records import RecordStore
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


def test_interpolated_weights_are_between_start_and_end_and_counts_are_the_end_s():
    start = {"w": torch.tensor([0.0, 4.0], dtype=torch.float64), "n": torch.tensor(3)}
    end = {"w": torch.tensor([1.0, 8.0], dtype=torch.float64), "n": torch.tensor(7)}
    found = interpolated(start, end, 0.25)
    assert (found["w"].tolist(), found["w"].dtype, found["n"].item()) == ([0.25, 5.0], torch.float64, 7)


def test_wise_ft_is_the_probe_at_0_and_lp_ft_at_1(cache):
    kinds = (LinearProbe, LPFT, WiseFT)
    probe, tuned, method = (kind(make_backbone(), 3, **GRID) for kind in kinds)
    for one in (probe, tuned, method):
        fit(one, make_data(), PROTOCOL, seed=0, cache=cache)
    images = make_data().train(0).inputs
    for alpha, end in ((0.0, probe), (1.0, tuned)):
        method.alpha = alpha
        assert torch.equal(method.eval().predict(images), end.eval().predict(images))
    method.alpha = 0.75
    trunk, head = method.plain()
    expected = 0.25 * probe.head.weight + 0.75 * tuned.head.weight
    torch.testing.assert_close(head.weight, expected)
    before, after = (one.trunk.layer1[0].bn1.running_mean for one in (probe, tuned))
    torch.testing.assert_close(trunk.layer1[0].bn1.running_mean, 0.25 * before + 0.75 * after)
    assert not torch.equal(before, after)
    for wrong in ("test", 1.5):
        with pytest.raises(UserError, match=rf"method.alpha={wrong} cannot be used"):
            WiseFT(make_backbone(), 3, alpha=wrong, **GRID)


def test_validation_images_choose_alpha_by_accuracy_then_loss(cache):
    method, data = WiseFT(make_backbone(), 3, **GRID), make_data()
    without = make_data(protocol=dataclasses.replace(PROTOCOL, val=0.0))
    fit(method, without, PROTOCOL, seed=0, cache=cache)
    assert (method.chosen.item(), method.artifacts()) == (0.5, {})
    steep = dataclasses.replace(PROTOCOL, lr=0.5)
    fit(method, data, steep, seed=0, cache=cache)
    scores = []
    for alpha in ALPHAS:
        method.alpha = alpha
        scores.append(evaluate(method, data.val)[0])
    rows = [f"{alpha:g},{one['accuracy']:.6g},{one['nll']:.6g}" for alpha, one in zip(ALPHAS, scores, strict=True)]
    assert method.artifacts()["alpha.csv"].splitlines() == ["alpha,accuracy,nll", *rows]
    best = max(zip(scores, ALPHAS, strict=True), key=lambda one: (one[0]["accuracy"], -one[0]["nll"]))
    assert method.chosen.item() == best[1]
    assert len({row.partition(",")[2] for row in rows}) > 1
    given = {0.0: (90.0, 0.3), 0.25: (95.0, 0.2), 0.5: (95.0, 0.1), 0.75: (95.0, 0.4), 1.0: (80.0, 0.01)}
    values = iter([{"accuracy": accuracy, "nll": nll} for accuracy, nll in given.values()])
    method.task = SimpleNamespace(metrics=lambda outputs, labels: next(values))
    method.finish(data)
    assert method.chosen.item() == 0.5


def test_one_training_gives_a_record_for_each_alpha_and_the_chosen_network_is_kept(tmp_path):
    quick = ("method=wise_ft", "data=digits", "backbone.weights=random", "protocol.updates=4", "protocol.lr=0.1")
    kept = train(tmp_path, *quick)
    store = RecordStore(tmp_path / "results")
    records = {alpha: store.read([run_key(compose_config([*quick, f"method.alpha={alpha}"]))])[0] for alpha in ALPHAS}
    assert [len(found) for found in records.values()] == [1] * 5
    method = kept.method()
    assert isinstance(method, WiseFT)
    (chosen,) = records[method.chosen.item()]
    assert (chosen.accuracy, chosen.nll) == (kept.card["accuracy"], kept.card["nll"])
    assert len({found[0].nll for found in records.values()}) == 5
    _, network = kept.plain()
    images = torch.rand(4, 1, 32, 32)
    torch.testing.assert_close(network(images), method.predict(images))
    assert "alpha.csv" in {path.name for path in kept.folder.iterdir()}
