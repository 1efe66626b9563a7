"""Faults of a run on two devices: processes killed and stopped, and another number of them at the rerun."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cotune_bench import cli
from cotune_bench.storage.records import Record
from faults.children import FAULTS, SMALL, Child, folder_of, long, newest, outcome, start, state_of

pytestmark = FAULTS

TWO = "devices=2"


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
