"""Faults of a run on two devices: processes killed and stopped, and another number of them at the rerun."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_parallel import KINDS, divisible, require_same
from two_processes import on_two

from cotune_bench import cli, load
from cotune_bench.config import choices
from cotune_bench.storage.records import Record
from cotune_bench.training.sharding import SHARDABLE
from faults.children import FAULTS, SMALL, Child, folder_of, long, newest, outcome, start, state_of

pytestmark = FAULTS

TWO = "devices=2"
SHARDED = (TWO, "shard=true")


def follower(run: Child) -> int:
    """Process number of the one that follows."""
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    (found,) = (pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text())
    return int(found)


def record_of(results: Path) -> Record:
    (path,) = (results / "records").glob("*.json")
    return Record.from_json(path.read_text())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> dict:
    """The outcome of a run on two devices that nothing happened to."""
    results = tmp_path_factory.mktemp("two") / "results"
    results.mkdir()
    code, _, err = start(results, *long(), TWO).end()
    assert code == 0, err
    assert record_of(results).environment["processes"] == 2
    return outcome(results)


def test_a_killed_process_ends_the_run_and_the_same_command_resumes(results, unbroken):
    run = start(results, *long(), TWO)
    run.until(lambda: newest(folder_of(results)) > 0)
    os.kill(follower(run), signal.SIGKILL)
    code, _, err = run.end()
    assert code == 1
    assert "process 1 of devices=2 was killed by SIGKILL; the same command resumes from its checkpoint" in err
    assert state_of(folder_of(results)) == "failed"
    assert not list(results.glob("records/*"))
    assert start(results, *long(), TWO).end()[0] == 0
    assert outcome(results) == unbroken


def test_with_the_first_process_the_other_ends(results, unbroken):
    run = start(results, *long(), TWO)
    run.until(lambda: newest(folder_of(results)) > 0)
    other = Path(f"/proc/{follower(run)}")
    run.end(signal.SIGKILL)
    for _ in range(500):
        if not other.exists():
            break
        signal.sigtimedwait([], 0.01)
    assert not other.exists()
    assert start(results, *long(), TWO).end()[0] == 0
    assert outcome(results) == unbroken


def test_a_stopped_run_resumes_on_one_device(results, unbroken):
    run = start(results, *long(), TWO)
    run.until(lambda: newest(folder_of(results)) > 0)
    code, _, err = run.end(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM, err
    assert state_of(folder_of(results)) == "interrupted"
    assert start(results, *long()).end()[0] == 0
    assert "resumes after update" in (folder_of(results) / "run.log").read_text()
    assert outcome(results)["scores"] == pytest.approx(unbroken["scores"], rel=0.02)


def test_the_processes_of_torchrun_give_one_record(results, unbroken):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(Path(cli.__file__).parents[3] / "run.py"), *long(), *SMALL, f"results={results}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=results.parent, check=False)
    assert done.returncode == 0, done.stderr
    record = record_of(results)
    assert record.environment["processes"] == 2
    assert (record.accuracy, record.nll, record.val_accuracy) == unbroken["scores"]


def test_a_run_in_parts_that_was_killed_or_stopped_resumes(results, tmp_path_factory):
    whole, stopped = (tmp_path_factory.mktemp("parts") / "results" for _ in range(2))
    whole.mkdir()
    parts = (*long(), *SHARDED, "keep_checkpoint=true")
    assert start(whole, *parts).end()[0] == 0
    assert record_of(whole).environment["shard"] is True
    assert load(folder_of(whole)).predict(np.zeros((1, 8, 8, 1), np.uint8)).sum() == pytest.approx(1)

    run = start(results, *parts)
    run.until(lambda: newest(folder_of(results)) > 0)
    os.kill(follower(run), signal.SIGKILL)
    assert run.end()[0] == 1
    shutil.copytree(results, stopped)
    assert start(results, *parts).end()[0] == 0
    assert "resumes after update" in (folder_of(results) / "run.log").read_text()
    assert outcome(results) == outcome(whole)

    run, saved = start(stopped, *parts), newest(folder_of(stopped))
    run.until(lambda: newest(folder_of(stopped)) > saved)
    assert run.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM
    assert start(stopped, *long()).end()[0] == 0  # one device and no parts
    assert outcome(stopped)["scores"] == pytest.approx(outcome(whole)["scores"], rel=0.02)


@pytest.mark.parametrize(
    ("names", "options"),
    [([name for name in choices("method") if name not in KINDS], {}), (SHARDABLE, {"shard": True})],
    ids=["whole", "in parts"],
)
def test_two_processes_optimise_what_one_does(names, options, tmp_path):
    asked = {name: (method, options) for name, method in divisible(names).items()}
    if "combine" in asked:
        asked["combine"] = (None, options)  # it cannot be pickled
    found = on_two(tmp_path, asked)[0]
    assert len(found) > 9
    for name in found:
        require_same(name, found[name], tmp_path / "cache")
