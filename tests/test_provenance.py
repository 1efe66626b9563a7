"""What records say of machine, libraries and code."""

import json

import torch

from cotune_bench.training.provenance import environment, instructions


def test_it_can_be_written_to_a_record_and_names_processor_and_libraries():
    found = environment(torch.device("cpu"))
    assert json.loads(json.dumps(found)) == found
    assert found["device"] == "cpu"
    for name in ("cpu", "torch", "torchvision", "scipy", "scikit_learn", "pillow"):
        assert isinstance(found[name], str)
        assert found[name]


def test_instructions_are_torch_s_and_the_limit_that_was_set(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert instructions() == "AVX2"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert instructions() == "AVX2, oneDNN SSE41"
