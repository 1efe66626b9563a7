"""One run on two processes: every method optimises what it does on one."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import make_backbone, make_data
from toy_methods import make_method
from two_processes import UPDATES, on_two, trained

from cotune_bench import cli, parallel
from cotune_bench.config import compose_config, run_config, run_key
from cotune_bench.config.changed import changed
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method
from cotune_bench.methods.finetune import FineTune

#: Whose first logits are in the hundreds.
FROM_PROBES = ("lp_ft", "wise_ft")
#: One of each kind of exchange: features alone, a queue, distances of maps, a mean inside layers, routes, two stages.
#: tests/faults compares the others.
KINDS = ("finetune", "bi_tuning", "delta", "zoo_tuning_lite", "spottune", "lp_ft")


def divisible(names: Sequence[str]) -> dict[str, Method]:
    """Those of these methods that updates train, and several processes may."""
    built = {name: make_method(name) for name in names}
    return {name: method for name, method in built.items() if method.divisible and not method.solved}


def require_same(name: str, two: dict, folder: Path) -> None:
    """Assert that two processes optimised what one does."""
    alone = trained(make_method(name), folder)
    assert len(alone["terms"]) == UPDATES
    close = {"rel": 1e-5, "abs": 1e-6} if name not in FROM_PROBES else {"rel": 1e-4}
    for one, other in zip(alone["terms"], two["terms"], strict=True):
        assert other == pytest.approx(one, **close), name
    torch.testing.assert_close(two["state"], alone["state"], rtol=1e-4, atol=1e-4)
    assert two["scores"] == pytest.approx(alone["scores"], rel=1e-4), name


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> list[dict[str, dict]]:
    """What each of two processes finds, for some methods and both switches."""
    asked = {name: (method, {}) for name, method in divisible(KINDS).items()}
    asked |= {text: (make_method("finetune"), {text: text == "shard"}) for text in ("shard", "sync_batch_norm")}
    return on_two(tmp_path_factory.mktemp("two"), asked)


def test_both_processes_end_with_the_same_method(of_two):
    first, second = ({name: found[name]["state"] for name in found} for found in of_two)
    torch.testing.assert_close(second, first, rtol=0, atol=0)


@pytest.mark.parametrize("name", KINDS)
def test_two_processes_optimise_what_one_does(name, of_two, cache):
    require_same(name, of_two[0][name], cache.folder)


def test_parameters_in_parts_give_the_same_losses_in_half_the_memory(of_two, cache):
    require_same("finetune", of_two[0]["shard"], cache.folder)
    whole = of_two[0]["finetune"]["bytes"]
    assert sum(found["shard"]["bytes"] for found in of_two) == whole
    assert of_two[0]["shard"]["bytes"] < 0.6 * whole


def test_each_process_may_have_batch_statistics_of_its_own(of_two):
    method, batch = make_method("finetune").train(), make_data().train(0)
    features = torch.cat([method.trunk(half) for half in batch.inputs.chunk(2)])
    loss = method.task.loss(method.head(features), batch.targets).item()
    assert of_two[0]["sync_batch_norm"]["terms"][0]["ce"] == pytest.approx(loss, rel=1e-5)
    assert of_two[0]["finetune"]["terms"][0]["ce"] != pytest.approx(loss, rel=1e-4)


def test_batch_statistics_of_parts_are_part_of_the_key(monkeypatch):
    usual = run_key(compose_config(["devices=2"]))
    assert usual == run_key(compose_config([])) == run_key(compose_config(["sync_batch_norm=false"]))
    two, three = (compose_config([f"devices={count}", "sync_batch_norm=false"]) for count in (2, 3))
    assert len({usual, run_key(two), run_key(three)}) == 3
    assert changed(run_config(two)) == ["devices=2", "sync_batch_norm=false"]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run_key(compose_config(["sync_batch_norm=false"])) == run_key(two)


def test_rows_are_divided_without_gaps(monkeypatch):
    monkeypatch.setattr(parallel, "world", lambda: 3)
    rows = torch.arange(12)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        parts.append(parallel.own_rows(rows))
    assert torch.equal(torch.cat(parts), rows)
    assert {len(part) for part in parts} == {4}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["devices=5"], "devices=5 cannot be used: they cannot share a batch of 48 images equally"),
        (["method=stochnorm"], "devices=2 cannot be used with this method: use devices=1"),
        (["compile=default"], "devices=2 cannot be used with compile=default: use compile=none"),
        (["method=l2sp", "shard=true"], "shard=true cannot be used with this method: use shard=false"),
        (["devices=1", "shard=true"], "shard=true cannot be used on one device: give devices=N, or leave it out"),
        (["devices=0"], "devices=0 cannot be used: it must be 1 or more"),
        (["-m", "seed=0,1", "jobs=2"], "devices=2 is for one run at a time: use jobs=1, or leave devices out"),
    ],
)
def test_what_several_devices_cannot_do_is_refused_in_one_line(tmp_path, capsys, overrides, message):
    results = tmp_path / "results"
    given = ["devices=2"] if not any(text.startswith("devices") for text in overrides) else []
    assert (
        cli.main(["run", "data=digits", "method=finetune", "device=cpu", f"results={results}", *given, *overrides])
        == 2
    )
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not list(results.rglob("*.json"))


def test_a_backbone_that_draws_numbers_for_each_image_is_refused():
    backbone = make_backbone()
    backbone.trunk.layer1.append(torch.nn.Dropout(0.1))
    with pytest.raises(UserError, match="devices=2 cannot be used with this backbone, whose Dropout draws numbers"):
        parallel.check_divisible(FineTune(backbone, 3), 8, 2)
