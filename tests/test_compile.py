"""A compiled trunk trains as it would otherwise, is compiled once, and not for evaluation."""

import pytest
import torch
from conftest import PROTOCOL, make_data
from torch import nn
from toy_methods import make_method

from cotune_bench.errors import UserError
from cotune_bench.inference.evaluate import evaluate
from cotune_bench.inference.execution import choose_execution
from cotune_bench.training.engine import fit


@pytest.fixture
def graphs(monkeypatch) -> list[torch.fx.GraphModule]:
    """What torch would compile, run as it is: a compiler takes seconds."""
    found: list[torch.fx.GraphModule] = []
    compile_ = nn.Module.compile

    def backend(graph: torch.fx.GraphModule, _inputs: list) -> torch.fx.GraphModule:
        found.append(graph)
        return graph

    monkeypatch.setattr(nn.Module, "compile", lambda module, mode: compile_(module, backend=backend))
    torch._dynamo.reset()
    return found


@pytest.mark.parametrize("name", ["finetune", "bss", "cotuning"])
def test_training_is_compiled_once_and_gives_what_it_gave(name, graphs, cache):
    weights = {}
    for mode in ("none", "reduce-overhead"):
        method, data = make_method(name), make_data()
        choose_execution(method, PROTOCOL, torch.device("cpu"), recompute="never", compile_mode=mode)
        fit(method, data, PROTOCOL, seed=0, cache=cache)
        evaluate(method, data.val)
        evaluate(method, data.test)
        weights[mode] = method.state_dict()
    assert len(graphs) == 1
    for key, value in weights["none"].items():
        assert torch.equal(value, weights["reduce-overhead"][key]), key


def test_a_method_that_cannot_be_compiled_says_so():
    with pytest.raises(UserError, match="compile=default cannot be used with this method: use compile=none"):
        choose_execution(
            make_method("delta"), PROTOCOL, torch.device("cpu"), recompute="never", compile_mode="default"
        )
