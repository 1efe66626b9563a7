"""Number formats: what auto means, what stays in float32, what a device does not have."""

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data

from cotune_bench.backbones import precision
from cotune_bench.errors import UserError
from cotune_bench.inference.evaluate import predict
from cotune_bench.methods.bss import BSS
from cotune_bench.methods.cotuning import CoTuning
from cotune_bench.methods.delta import Delta
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.l2sp import L2SP
from cotune_bench.training.engine import fit

CPU = torch.device("cpu")
METHODS = [FineTune, L2SP, Delta, BSS, CoTuning]


@pytest.mark.parametrize(("has", "meant"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_where_the_device_is_made_for_it(monkeypatch, has, meant):
    monkeypatch.setattr(precision, "_has_bf16", lambda device: has)
    assert precision.resolve("auto", CPU) == meant
    assert precision.resolve("fp32", CPU) == "fp32"


def test_the_cpu_has_no_tf32():
    with pytest.raises(UserError, match=r"precision=tf32 needs a GPU from Ampere on and this run is on cpu"):
        precision.resolve("tf32", CPU)


def test_arithmetic_sets_a_gpu_s_float32_and_puts_it_back():
    parts = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [part.fp32_precision for part in parts]
    for name, meant in (("tf32", "tf32"), ("fp32", "ieee"), ("bf16", "ieee")):
        with precision.arithmetic(name):
            assert [part.fp32_precision for part in parts] == [meant, meant]
    assert [part.fp32_precision for part in parts] == before


@pytest.mark.parametrize("kind", METHODS)
def test_terms_features_and_logits_are_float32_whatever_the_trunk_computes_in(kind, cache):
    data = make_data()
    method = kind(make_backbone(), 3)
    method.precision = "bf16"
    method.prepare(data, cache)
    batch = data.train(0)
    assert method.features(batch.inputs).dtype == torch.float32
    assert {term.dtype for term in method(batch).values()} == {torch.float32}
    assert predict(method, data.test).dtype == torch.float32


@pytest.mark.parametrize("kind", METHODS)
def test_bf16_trains_nearly_as_fp32_does(kind, cache):
    ended = {}
    for name in ("fp32", "bf16"):
        torch.manual_seed(0)
        method = kind(make_backbone(), 3)
        method.precision = name
        rows = []
        fit(
            method,
            make_data(),
            PROTOCOL,
            seed=0,
            cache=cache,
            report=lambda done, lr, terms, to=rows: to.append(terms),
            report_every=1,
        )
        ended[name] = rows
    assert ended["fp32"] != ended["bf16"]  # it was used
    for exact, rounded in zip(ended["fp32"], ended["bf16"], strict=True):
        assert rounded["ce"] == pytest.approx(exact["ce"], rel=0.03)


@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "own"), [(3, 1, 8, True), (5, 1, 8, False), (3, 2, 8, False), (5, 2, 1, True)]
)
def test_slow_depthwise_convolutions_stay_in_float32(kernel, stride, groups, own):
    conv = torch.nn.Conv2d(8, 8, kernel, stride, groups=groups, bias=False)
    images = torch.rand(2, 8, 9, 9)
    with precision.autocast("bf16", CPU):
        found = conv(images)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = conv(images)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, rounded if own else conv(images).bfloat16())
    assert not torch.equal(rounded, conv(images).bfloat16())
