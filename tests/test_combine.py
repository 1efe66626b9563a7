"""Terms of several methods on one trunk and head."""

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from toy_methods import make_method

from cotune_bench.config import compose_config, run_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.methods.combine import Combine
from cotune_bench.training.engine import fit

OFF = {
    "cotuning": {"trade_off": 0.0},
    "bss": {"weight": 0.0},
    "lwf": {"weight": 0.0},
    "bi_tuning": {"weight": 0.0},
    "stochnorm": {"p": 1.0},
}


def combined(*of: str, **settings: dict) -> Combine:
    backbone = make_backbone()
    torch.manual_seed(0)
    return Combine(backbone, 3, of=of, settings=settings, head_init="normal")


@pytest.mark.parametrize(
    ("name", "other"),
    [("bss", "cotuning"), ("cotuning", "bss"), ("delta", "bss"), ("bss", "lwf"), ("lwf", "bi_tuning"),
     ("bi_tuning", "bss"), ("l2sp", "cotuning"), ("lora", "bss"), ("ema", "cotuning"), ("stochnorm", "lwf")],
)  # fmt: skip
def test_it_is_each_alone_when_the_weight_of_the_other_is_zero(name, other, cache):
    tuned = compose_config([f"method={name}"]).method  # what make_method uses
    own = {key: value for key, value in tuned.items() if key not in ("_target_", "name", "tune")}
    both = combined(*sorted((name, other)), **{name: own, other: OFF[other]})
    alone, data = make_method(name), make_data()
    for method in (both, alone):
        fit(method, data, PROTOCOL, seed=0, cache=cache)
    # Of bi_tuning's three terms, the order of the sum of gradients changes.
    close = {"rtol": 1e-4, "atol": 1e-6} if name == "bi_tuning" else {"rtol": 0, "atol": 0}
    for part in ("trunk", "head"):
        torch.testing.assert_close(*(dict(getattr(method, part).state_dict()) for method in (both, alone)), **close)
    images = data.train(0).inputs
    torch.testing.assert_close(both.eval().predict(images), alone.eval().predict(images), **close)


def test_terms_are_those_of_all_from_one_pass(cache):
    method, batch = combined("bss", "delta", "lwf"), make_data().train(0)
    method.prepare(make_data(), cache)
    terms = method.train()(batch)
    assert next(iter(terms)) == "ce"
    assert set(terms) == {"ce", "bss", "maps", "kd"}
    assert set(method.penalties()) == {"head"}
    assert method.trunk.layer1[0].bn1.num_batches_tracked == 1


@pytest.mark.parametrize(
    ("of", "settings", "message"),
    [
        (("l2sp", "delta"), {}, "l2sp and delta both replace weight decay: combine one of them"),
        (("lora", "stochnorm"), {}, "lora and stochnorm both change the trunk"),
        (("bss", "linear_probe"), {}, "method linear_probe is solved without training"),
        (("bss",), {}, "name two or more different methods"),
        (("bss", "random_start"), {}, "method random_start cannot be combined"),
        (("bss", "lwf"), {"ema": {}}, "method.settings names ema"),
        (("bss", "lwf"), {"bss": {"wait": 1}}, "method bss cannot be combined, or has no settings wait"),
    ],
)
def test_what_cannot_be_combined_is_refused_in_one_line(of, settings, message):
    with pytest.raises(UserError, match=message):
        combined(*of, **settings)


def test_settings_of_each_are_part_of_the_key():
    usual = compose_config(["method=combine", "data=digits"])
    assert run_config(usual)["method"]["settings"]["bss"] == {"weight": 0.001, "k": 1}
    same = compose_config(["method=combine", "data=digits", "method.settings={bss:{weight:0.001}}"])
    other = compose_config(["method=combine", "data=digits", "method.settings={bss:{weight:0.01}}"])
    assert run_key(usual) == run_key(same) != run_key(other)
