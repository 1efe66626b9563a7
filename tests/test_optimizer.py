"""The optimiser takes the steps of torch.optim.SGD, bit for bit, and goes on from what it saved."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from cotune_bench.training.optimizer import SGD

SETTINGS = [(0.9, True, 5e-4), (0.9, False, 0.0), (0.0, False, 1e-2)]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def groups(model: nn.Sequential) -> list[dict]:
    return [
        {"params": list(model[0].parameters()), "lr": 0.003},
        {"params": list(model[3].parameters()), "lr": 0.03, "weight_decay": 0.1},
    ]


def backward(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(5, 1, 8, 8, generator=generator)
    labels = torch.randint(3, (5,), generator=generator)
    nn.functional.cross_entropy(model(images), labels).backward()


def trained(optimizer: SGD, model: nn.Module, steps: range) -> list[torch.Tensor]:
    for step in steps:
        optimizer.zero_grad()
        backward(model, step)
        optimizer.step(0.1 if step > 3 else 1.0)
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize(("momentum", "nesterov", "decay"), SETTINGS)
def test_its_steps_are_those_of_torch(momentum, nesterov, decay):
    ours, theirs = network(), network()
    found = trained(SGD(groups(ours), momentum=momentum, nesterov=nesterov, weight_decay=decay), ours, range(6))
    reference = torch.optim.SGD(
        groups(theirs), lr=1.0, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True
    )
    for step in range(6):
        reference.zero_grad()
        backward(theirs, step)
        if step == 4:
            for group in reference.param_groups:
                group["lr"] *= 0.1
        reference.step()
    torch.testing.assert_close(list(found), list(theirs.parameters()))


def test_what_was_saved_goes_on_as_if_never_stopped(tmp_path):
    whole, first, second = network(), network(), network()
    settings = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    expected = trained(SGD(groups(whole), **settings), whole, range(6))
    half = SGD(groups(first), **settings)
    trained(half, first, range(3))
    torch.save({"model": first.state_dict(), "optimizer": half.state_dict()}, tmp_path / "half.pt")
    saved = torch.load(tmp_path / "half.pt", weights_only=True)
    second.load_state_dict(saved["model"])
    rest = SGD(groups(second), **settings)
    rest.load_state_dict(saved["optimizer"])
    assert all(torch.equal(a, b) for a, b in zip(expected, trained(rest, second, range(3, 6)), strict=True))


def test_what_torch_saved_is_taken():
    model, theirs = network(), network()
    reference = torch.optim.SGD(groups(theirs), lr=1.0, momentum=0.9, fused=True)
    backward(theirs, 0)
    reference.step()
    optimizer = SGD(groups(model), momentum=0.9, nesterov=False, weight_decay=0.0)
    optimizer.load_state_dict(reference.state_dict())
    held = [reference.state[parameter]["momentum_buffer"] for parameter in theirs.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(optimizer.buffers.values(), held, strict=True))


def test_a_parameter_without_a_gradient_stays():
    model = network()
    before = model[0].weight.detach().clone()
    model[0].requires_grad_(False)
    trained(SGD(groups(model), momentum=0.9, nesterov=True, weight_decay=0.1), model, range(2))
    assert torch.equal(model[0].weight, before)


def test_a_parameter_in_two_groups_is_refused():
    twice = [{"params": list(network().parameters()), "lr": 0.1}] * 2
    with pytest.raises(ValueError, match="two groups"):
        SGD(twice, momentum=0.9, nesterov=True, weight_decay=0.0)


def test_a_run_waits_for_no_compiler_and_for_nothing_else_that_it_does_not_use(tmp_path):
    code = (
        "import sys; from cotune_bench.cli import main; main(sys.argv[1:])\n"
        "print({'torch._dynamo', 'sympy', 'sklearn.datasets', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules))"
    )
    settings = ["method=finetune", "backbone.weights=random", "protocol.updates=2", "protocol.drop_at=[]"]
    places = [f"results={tmp_path / 'results'}", f"cache={tmp_path / 'cache'}"]
    done = subprocess.run(
        [sys.executable, "-c", code, *settings, *places], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["set()"], done.stderr
