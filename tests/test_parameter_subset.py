"""Methods that train a part of the pre-trained weights."""

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from torch import nn

from cotune_bench.errors import UserError
from cotune_bench.methods.bitfit import BitFit
from cotune_bench.methods.bn_only import BNOnly
from cotune_bench.training.engine import fit

TRAINED = {
    BNOnly: [f"layer{n}.bn{i}.{kind}" for n in ("1.0", "2.1") for i in (1, 2) for kind in ("weight", "bias")],
    BitFit: [f"layer{n}.bn{i}.bias" for n in ("1.0", "2.1") for i in (1, 2)],
}


@pytest.mark.parametrize("kind", TRAINED)
def test_only_the_named_parameters_of_the_trunk_are_trained(kind, cache):
    method = kind(make_backbone(), 3)
    before = {name: value.detach().clone() for name, value in method.trunk.named_parameters()}
    fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
    moved = [name for name, value in method.trunk.named_parameters() if not torch.equal(value, before[name])]
    assert moved == TRAINED[kind]


@pytest.mark.parametrize("kind", TRAINED)
def test_the_scale_is_of_the_rate_of_pretrained_parameters(kind):
    pretrained, head = kind(make_backbone(), 3, lr_scale=3.0).param_groups(0.2, 0.1)
    assert (pretrained["lr"], head["lr"]) == (pytest.approx(0.06), 0.2)
    with pytest.raises(UserError, match=r"method.lr_scale=\[0.0\] cannot be used"):
        kind(make_backbone(), 3, lr_scale=0.0)


def test_a_trunk_without_normalisation_layers_is_refused():
    backbone = make_backbone()
    backbone.trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(UserError, match="backbone tiny has no parameters that this method trains"):
        BNOnly(backbone, 3)
    assert len(BitFit(backbone, 3).pretrained_parameters()) == 1
