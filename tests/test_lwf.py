"""Learning without Forgetting: its loss, its teacher, its frozen source head."""

import math

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from torch.nn.functional import softmax

from cotune_bench.errors import UserError
from cotune_bench.methods.lwf import LwF, distillation_loss
from cotune_bench.training.engine import fit


def test_distillation_loss_of_a_worked_example():
    teacher = torch.tensor([[math.log(9.0), 0.0], [0.0, 0.0]], dtype=torch.float64)  # 3/4 and 1/4 at T = 2, 1/2
    student = torch.zeros(2, 2, dtype=torch.float64)
    expected = (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)) / 2
    found = distillation_loss(student, teacher, 2.0)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert distillation_loss(teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_the_gradient_of_the_distillation_loss_has_no_square_of_the_temperature():
    student, teacher = (torch.randn(4, 3, dtype=torch.float64) for _ in "ab")
    student.requires_grad_()
    distillation_loss(student, teacher, 3.0).backward()
    expected = (softmax(student.detach() / 3, dim=1) - softmax(teacher / 3, dim=1)) / (4 * 3)
    torch.testing.assert_close(student.grad, expected)


@pytest.mark.parametrize("view", ["plain", "train"])
def test_before_training_the_network_in_evaluation_agrees_with_its_teacher(view, cache):
    data = make_data()  # not augmented: both views are the same
    method = LwF(make_backbone(), 3, teacher_view=view).eval()
    method.prepare(data, cache)
    assert method(data.train(3))["kd"].item() == pytest.approx(0, abs=1e-5)
    assert method.preparation(50) == (50 if view == "plain" else 0)
    with torch.no_grad():
        method.trunk.conv1.weight.add_(0.5)
    assert method(data.train(3))["kd"].item() > 1e-3


def test_the_two_views_of_the_teacher_give_the_same_run_without_augmentation(cache):
    states = []
    for view in ("plain", "train"):
        method = LwF(make_backbone(), 3, teacher_view=view)
        torch.nn.init.zeros_(method.head.weight)
        fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
        states.append(method.state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=1e-4, atol=1e-6)


def test_the_source_head_is_frozen_and_the_weight_counts(cache):
    method = LwF(make_backbone(), 3, weight=2.0)
    head = method.source_head.module.weight.clone()
    fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
    assert torch.equal(method.source_head.module.weight, head)
    batch, double = make_data().train(0), LwF(make_backbone(), 3, weight=4.0).eval()
    double.prepare(make_data(), cache)
    double.load_state_dict(method.state_dict())
    assert double(batch)["kd"].item() == pytest.approx(2 * method.eval()(batch)["kd"].item(), rel=1e-6)


def test_what_cannot_be_used_is_refused():
    with pytest.raises(UserError, match=r"method.temperature=\[0\]"):
        LwF(make_backbone(), 3, temperature=0)
    with pytest.raises(UserError, match=r"LwF needs prepare\(\)"):
        LwF(make_backbone(), 3)(make_data().train(0))
