"""Features of the untrained trunk: those of a plain pass, and computed once for rates, seeds and methods."""

import numpy as np
import pytest
import torch
from conftest import make_backbone, make_data

from cotune_bench.methods.cotuning import CoTuning
from cotune_bench.methods.delta import Delta
from cotune_bench.methods.source_features import identity, source_features


@pytest.fixture
def passes():
    """Images that went through any network with a flatten layer."""
    seen = []
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, _inputs, output: seen.append(len(output)) if isinstance(module, torch.nn.Flatten) else None
    )
    yield seen
    handle.remove()


@pytest.mark.parametrize("part", ["plain", "val"])
def test_they_are_those_of_a_pass_in_evaluation_mode(cache, part):
    trunk, data = make_backbone().trunk, make_data(rate=0.5)
    found = source_features(trunk.train(), getattr(data, part), data, cache, weights_id="w")
    assert trunk.training
    images = getattr(data, part)
    with torch.no_grad():
        expected = trunk.eval()(images.take(np.arange(len(images)))[:, 0])
    torch.testing.assert_close(found, expected)
    assert len({tuple(row) for row in found.tolist()}) == len(images)  # a mixed up order would not pass for equal


def test_rates_seeds_and_methods_share_one_pass(cache, passes):
    first = make_data(rate=0.5)
    everything = len(first.plain) + len(first.val)
    CoTuning(make_backbone(), 3).prepare(first, cache)
    assert sum(passes) == len(first.known) > everything
    for rate, seed in ((0.5, 1), (1.0, 0)):
        CoTuning(make_backbone(), 3).prepare(make_data(rate=rate, seed=seed), cache)
    assert sum(passes) == len(first.known)
    before = [*(cache.folder / "source-features").glob("*.arrays")]
    Delta(make_backbone(), 3).prepare(first, cache)
    assert [*(cache.folder / "source-features").glob("*.arrays")] == before
    CoTuning(make_backbone(seed=1), 3).prepare(first, cache)
    assert len([*(cache.folder / "source-features").glob("*.arrays")]) == 2


class Addressed(torch.nn.Identity):
    """Tells where something lies in memory, as a layer does that holds a function."""

    def extra_repr(self) -> str:
        return f"act={object()!r}"


def test_a_network_is_identified_by_weights_layers_and_the_normalisation_of_its_images():
    trunk, data = make_backbone().trunk, make_data()
    told = identity(trunk, data, weights_id="w")
    assert told == identity(make_backbone(seed=1).trunk, make_data(rate=0.5, seed=1), weights_id="w")
    other = make_backbone().trunk.append(torch.nn.Tanh())
    assert told != identity(other, data, weights_id="w")
    for change in ({"mean": (0.1,)}, {"std": (1.0,)}):
        assert told != identity(trunk, make_data(**change), weights_id="w")
    one, two = (identity(torch.nn.Sequential(Addressed()), data, weights_id="w") for _ in range(2))
    assert one == two


@pytest.mark.parametrize("kind", [CoTuning, Delta])
def test_what_is_prepared_for_other_images_is_not_used(cache, kind, passes):
    for change in ({}, {"mean": (0.1,)}):
        before = sum(passes)
        kind(make_backbone(), 3).prepare(make_data(**change), cache)
        assert sum(passes) > before
