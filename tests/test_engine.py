"""The loop: updates worked out by hand, the schedule, and what a run may depend on."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone, SourceInfo
from cotune_bench.data.task import Batch
from cotune_bench.inference.evaluate import evaluate, predict
from cotune_bench.methods.base import Method
from cotune_bench.methods.finetune import FineTune
from cotune_bench.training.engine import DominanceWatch, NonFiniteLossError, fit

PLAIN = dataclasses.replace(PROTOCOL, weight_decay=0.0, drop_at=())
SLOPE = 2.0  # of the toy's loss


def linear_backbone(*extra: nn.Module) -> Backbone:
    """One weight per pixel, then three features."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), *extra)
    info = SourceInfo("random", "linear", ("a",), (0.5,), (0.25,))
    return Backbone("linear", trunk, nn.Linear(3, 1), info)


class Slope(Method):
    """A loss whose gradient is the same everywhere: every weight of the head and the trunk falls by itself."""

    def __init__(self) -> None:
        super().__init__(linear_backbone(), 3)
        self.modes: list[bool] = []
        self.prepared: list[int] = []

    def prepare(self, data, cache) -> None:
        self.prepared.append(len(self.modes))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.modes.append(self.training)
        heights = [parameter.sum() for parameter in self.parameters()]
        return {"ce": SLOPE * torch.stack(heights).sum(), "half": 0.5 * SLOPE * torch.stack(heights).sum()}


class PenalisedSlope(Slope):
    replaces_weight_decay = True


def moved(method: Method, protocol, cache, **options) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights before and after fitting."""
    before = {name: value.detach().clone() for name, value in method.named_parameters()}
    fit(method, make_data(), protocol, seed=0, cache=cache, **options)
    return before, {name: value.detach() for name, value in method.named_parameters()}


def by_hand(start: Tensor, protocol, ratio: float, decay: float) -> Tensor:
    """Updates v = 0.9 v + g, and with Nesterov w falls by lr (g + 0.9 v), in float64."""
    weight, velocity = start.double(), torch.zeros_like(start, dtype=torch.float64)
    for step in range(protocol.updates):
        lr = protocol.lr * ratio * (protocol.drop_factor if step in (4, 5) and protocol.drop_at else 1)
        gradient = 1.5 * SLOPE + decay * weight
        velocity = protocol.momentum * velocity + gradient
        weight = weight - lr * (gradient + protocol.momentum * velocity if protocol.nesterov else velocity)
    return weight


@pytest.mark.parametrize("drop_at", [(), (4,)])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("kind", [Slope, PenalisedSlope])
def test_six_updates_of_a_worked_example(kind, nesterov, drop_at, cache):
    protocol = dataclasses.replace(PROTOCOL, nesterov=nesterov, drop_at=drop_at, weight_decay=0.1)
    before, after = moved(kind(), protocol, cache)
    for name in before:
        ratio = 1 if name.startswith("head") else protocol.backbone_ratio
        expected = by_hand(before[name], protocol, ratio, 0.1 if kind is Slope else 0.0)
        torch.testing.assert_close(after[name].double(), expected, rtol=1e-5, atol=1e-6, msg=name)


def test_the_rate_drops_after_as_many_updates_as_the_protocol_says(cache):
    protocol = dataclasses.replace(PROTOCOL, updates=7, lr=1.0, drop_at=(2, 5), drop_factor=0.1)
    reports = []
    fit(
        Slope(), make_data(), protocol, seed=0, cache=cache, report=lambda *told: reports.append(told), report_every=1
    )
    assert [updates for updates, _, _ in reports] == [1, 2, 3, 4, 5, 6, 7]
    assert [lr for _, lr, _ in reports] == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_reports_give_the_mean_of_each_term_since_the_last(cache):
    fine, coarse = [], []
    for every, reports in ((1, fine), (4, coarse)):
        method = Slope()
        note = {"report": lambda *t, r=reports: r.append(t), "report_every": every}
        fit(method, make_data(), PLAIN, seed=0, cache=cache, **note)
    assert [updates for updates, _, _ in coarse] == [4, 6]
    for name in ("ce", "half"):
        values = [terms[name] for _, _, terms in fine]
        means = [terms[name] for _, _, terms in coarse]
        assert means == pytest.approx([np.mean(values[:4]), np.mean(values[4:])], rel=1e-6)


def test_preparation_comes_first_and_training_is_in_training_mode(cache):
    method = Slope().eval()
    moved(method, PLAIN, cache)
    assert method.prepared == [0]
    assert method.modes == [True] * PLAIN.updates


def finetuned(cache, seed: int = 0, *, noise: int = 0, **options) -> dict[str, Tensor]:
    backbone = linear_backbone(nn.Dropout(0.5))
    method = FineTune(backbone, 3)
    torch.manual_seed(noise)
    protocol = dataclasses.replace(PROTOCOL, augment="shift", shift=1, flip=True)
    fit(method, make_data(protocol=protocol, seed=seed), protocol, seed=seed, cache=cache, **options)
    return method.state_dict()


def same(first: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in first.items())


def test_one_seed_gives_the_same_weights_bit_for_bit_and_another_does_not(cache):
    first = finetuned(cache, seed=3)
    assert same(first, finetuned(cache, seed=3, noise=2))  # whatever happened to the global random state before
    assert not same(first, finetuned(cache, seed=4))


def test_layers_that_draw_numbers_draw_others_at_every_update_and_seed(cache):
    class Drawing(Slope):
        def forward(self, batch: Batch) -> dict[str, Tensor]:
            self.drawn.append(torch.rand(()).item())
            return super().forward(batch)

    drawn = {}
    for seed in (0, 1):
        method = Drawing()
        method.drawn = drawn[seed] = []
        fit(method, make_data(), PLAIN, seed=seed, cache=cache)
    assert len({*drawn[0], *drawn[1]}) == 2 * PLAIN.updates


@pytest.mark.parametrize("report_every", [1, 100])
def test_how_often_is_reported_changes_no_bit(report_every, cache):
    assert same(finetuned(cache), finetuned(cache, report_every=report_every))


def test_a_group_may_drop_its_rate_at_other_steps_than_the_protocol(cache):
    class Early(Slope):
        def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
            first, *others = super().param_groups(lr, backbone_ratio)
            return [{**first, "drop_at": (1, 3)}, *others]

    protocol = dataclasses.replace(PLAIN, drop_at=(2,), momentum=0.0, nesterov=False)
    before, after = moved(Early(), protocol, cache)
    for name in before:
        rates = [1, 1, 0.1, 0.1, 0.1, 0.1] if name.startswith("head") else [1, 0.1, 0.1, 0.01, 0.01, 0.01]
        lr = protocol.lr * (1 if name.startswith("head") else protocol.backbone_ratio)
        expected = before[name] - lr * sum(rates) * 1.5 * SLOPE
        torch.testing.assert_close(after[name], expected, rtol=1e-5, atol=1e-6, msg=name)


def test_every_update_is_followed_by_after_step_once_the_weights_have_moved(cache):
    class Following(Slope):
        def after_step(self) -> None:
            self.seen.append(self.head.bias.detach().clone())

    method = Following()
    method.seen = [method.head.bias.detach().clone()]
    moved(method, PLAIN, cache)
    assert len(method.seen) == PLAIN.updates + 1
    assert not any(torch.equal(one, other) for one, other in pairwise(method.seen))
    assert torch.equal(method.seen[-1], method.head.bias)


def test_a_method_may_see_every_image_twice(cache):
    class Twice(Slope):
        train_views = 2

        def forward(self, batch: Batch) -> dict[str, Tensor]:
            self.seen.append(batch)
            return super().forward(batch)

    protocol = dataclasses.replace(PLAIN, augment="shift", shift=2)
    method, data = Twice(), make_data(protocol=protocol)
    method.seen = []
    fit(method, data, protocol, seed=0, cache=cache)
    for step, batch in enumerate(method.seen):
        once = data.train(step)
        assert torch.equal(batch.inputs, once.inputs)
        assert once.views == ()
        (other,) = batch.views
        assert other.shape == batch.inputs.shape
        assert not torch.equal(other, batch.inputs)
        assert batch.index.tolist() == data.train.positions(step).tolist()
        assert batch.labels.tolist() == data.plain.labels[batch.index].tolist()


class Breaking(Slope):
    """Not finite at the fourth update."""

    value = math.nan

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        terms = super().forward(batch)
        return {"ce": terms["ce"] * 0 + 1.5, "half": terms["half"] * (self.value if len(self.modes) == 4 else 0)}


@pytest.mark.parametrize(("report_every", "value"), [(1, math.nan), (3, math.nan), (100, math.inf)])
def test_a_loss_that_is_not_a_number_stops_the_run_and_is_reported(report_every, value, cache):
    reports, method = [], Breaking()
    method.value = value
    with pytest.raises(NonFiniteLossError) as caught:
        moved(method, PLAIN, cache, report=lambda *told: reports.append(told), report_every=report_every)
    message = str(caught.value)
    assert message.startswith("the loss is not finite at update 3 (learning rate 0.05): ce=1.5, half=")
    assert message.partition("half=")[2].split(";")[0].lstrip("-") == str(value)
    assert "lower protocol.lr" in message
    assert len(reports) == 3 // report_every


class Images:
    """Views that are logits already: predict gives them back."""

    def __init__(self, *images: list[tuple[float, float]], labels: list[int], size: int = 2) -> None:
        self.views = torch.tensor(images).view(len(images), -1, 2, 1, 1)
        self.labels = np.array(labels)
        self.size = size

    def batches(self) -> list[np.ndarray]:
        return np.split(np.arange(len(self.labels)), range(self.size, len(self.labels), self.size))

    def take(self, positions: np.ndarray) -> Tensor:
        return self.views[positions]


class Told(Method):
    def __init__(self) -> None:
        super().__init__(linear_backbone(), 2)
        self.modes: list[bool] = []

    def predict(self, images: Tensor) -> Tensor:
        self.modes.append(self.training or torch.is_grad_enabled())
        return images.flatten(1)


#: Two views of three, and the mean of their probabilities, say class 0; the sum of logits is (4, 4.5).
SPLIT_OPINION = [(2.0, 0.0), (2.0, 0.0), (0.0, 4.5)]
CLEAR = [(1.0, 0.0), (1.0, 0.0), (1.0, 0.0)]


def test_the_sum_of_logits_over_views_decides():
    images = Images(SPLIT_OPINION, CLEAR, CLEAR, labels=[1, 0, 1])
    found, correct = evaluate(Told(), images)
    assert correct.tolist() == [True, True, False]
    assert found["accuracy"] == pytest.approx(100 * 2 / 3)
    losses = [math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(-3)), math.log(1 + math.exp(3))]
    assert found["nll"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert predict(Told(), images).tolist() == [[4, 4.5], [3, 0], [3, 0]]


def test_evaluation_is_in_evaluation_mode_without_gradients_and_goes_back():
    method = Told().train()
    method.head.eval()
    evaluate(method, Images(CLEAR, CLEAR, CLEAR, labels=[0, 0, 0]))
    assert method.modes == [False, False]
    assert method.training
    assert not method.head.training


def test_training_learns_the_toy(cache):
    protocol = dataclasses.replace(PROTOCOL, updates=40, drop_at=(30,))
    method = FineTune(make_backbone(), 3)
    fit(method, make_data(), protocol, seed=0, cache=cache)
    assert evaluate(method, make_data().test)[0]["accuracy"] > 80


@pytest.mark.parametrize(("size", "warned"), [(9.9, False), (10.1, True)])
def test_a_term_that_dwarfs_the_cross_entropy_for_long_is_named_once(caplog, size, warned):
    watch = DominanceWatch()
    for terms in ({"ce": 0.01, "maps": 5.0}, {"ce": 2.0, "maps": 2 * size}, {"ce": 2.0, "maps": 2 * size}):
        watch(terms, 25)
        watch(terms, 24)
    assert [record.message.split(" was")[0] for record in caplog.records] == ["the term maps"] * warned
