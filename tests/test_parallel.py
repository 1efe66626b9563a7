"""One run on two processes: every method optimises what it does on one."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data

from cotune_bench import cli, parallel
from cotune_bench.errors import UserError
from cotune_bench.inference.evaluate import evaluate
from cotune_bench.methods.finetune import FineTune
from cotune_bench.storage.cache import Cache
from cotune_bench.training.engine import fit

from test_methods import TRAINED, make_method  # isort: skip

#: A policy of 0 and 1 turns the rounding of sums into another choice at some update.
UPDATES = {"spottune": 8, "spottune_global": 8}
#: Whose first logits are in the hundreds.
FROM_PROBES = ("lp_ft", "wise_ft")
DIVISIBLE = [name for name in TRAINED if make_method(name).divisible]
TWENTY = replace(PROTOCOL, updates=20, drop_at=(15,))

FOLLOWER = """
import sys
sys.path.insert(0, {tests!r})
import torch, torch.distributed as dist
from test_parallel import train_all
torch.set_num_threads(1)
dist.init_process_group("gloo", store=dist.FileStore({store!r}, 2), rank=int(sys.argv[1]), world_size=2)
found = train_all({cache!r})
if not dist.get_rank():
    torch.save(found, {found!r})
dist.destroy_process_group()
"""


def train_all(cache: str) -> dict[str, dict]:
    """Terms of each update, state and scores of every method."""
    return {name: trained(name, Path(cache)) for name in DIVISIBLE}


def trained(name: str, cache: Path) -> dict:
    protocol = replace(TWENTY, updates=UPDATES.get(name, 20))
    method, data, terms = make_method(name), make_data(protocol=protocol), []
    note = {"report": lambda _updates, _lr, found: terms.append(found), "report_every": 1}
    fit(method, data, protocol, seed=0, cache=Cache(cache), **note)
    return {"terms": terms, "state": method.state_dict(), "scores": evaluate(method, data.test)[0]}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> dict[str, dict]:
    """What :func:`train_all` finds on two processes."""
    folder = tmp_path_factory.mktemp("two")
    places = {"store": str(folder / "store"), "cache": str(folder / "cache"), "found": str(folder / "found.pt")}
    code = FOLLOWER.format(tests=str(Path(__file__).parent), **places)
    processes = [subprocess.Popen([sys.executable, "-c", code, str(rank)]) for rank in range(2)]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    return torch.load(places["found"])


@pytest.mark.parametrize("name", DIVISIBLE)
def test_two_processes_optimise_what_one_does(name, of_two, cache):
    alone, two = trained(name, cache.folder), of_two[name]
    assert len(two["terms"]) == len(alone["terms"]) >= 8
    close = {"rel": 1e-5, "abs": 1e-6} if name not in FROM_PROBES else {"rel": 1e-4}
    for one, other in zip(alone["terms"], two["terms"], strict=True):
        assert other == pytest.approx(one, **close)
    torch.testing.assert_close(dict(two["state"]), dict(alone["state"]), rtol=1e-4, atol=1e-4)
    assert two["scores"] == pytest.approx(alone["scores"], rel=1e-4)


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
