"""Faults of one run or sweep: kills, signals, full disks, flipped bytes, losses that are no number."""

import json
import random
import signal
import time
from pathlib import Path

import pytest

from faults.children import (
    FAULTS,
    UPDATES,
    folder_of,
    key_of,
    leftovers,
    long,
    newest,
    outcome,
    start,
    state_of,
)

pytestmark = FAULTS


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> dict:
    """The outcome of a run that nothing happened to."""
    results = tmp_path_factory.mktemp("unbroken") / "results"
    results.mkdir()
    assert start(results, *long()).end()[0] == 0
    return outcome(results)


def same(results: Path, unbroken: dict) -> None:
    found = outcome(results)
    assert found == unbroken
    assert leftovers(folder_of(results)) == []


@pytest.mark.parametrize("_again", range(2))
def test_ten_kills_change_no_bit(results, unbroken, _again):
    rng, folder, kills, hit = random.Random(), folder_of(results), 0, set()
    while kills < 10:
        run, before = start(results, *long()), newest(folder)
        if kills == 5:  # once while it starts
            time.sleep(rng.uniform(0, 0.5))
        else:
            run.until(lambda before=before: newest(folder) > before)
            time.sleep(rng.uniform(0, 0.1))
        code, _, err = run.end(signal.SIGKILL)
        assert code == -signal.SIGKILL, err
        kills += 1
        hit.add(newest(folder))
    assert len(hit) > 5  # every part went on from where the last one was
    assert 0 < newest(folder) < UPDATES
    assert start(results, *long()).end()[0] == 0
    same(results, unbroken)


def test_kills_change_no_bit_of_queues_and_a_momentum_encoder(results, tmp_path):
    whole, arguments = tmp_path / "whole" / "results", (*long(), "method=bi_tuning")
    whole.mkdir(parents=True)
    assert start(whole, *arguments).end()[0] == 0
    folders = [place / "runs" / key_of(*arguments) for place in (results, whole)]
    for _ in range(3):
        run, before = start(results, *arguments), newest(folders[0])
        run.until(lambda before=before: newest(folders[0]) > before)
        assert run.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert 0 < newest(folders[0]) < UPDATES
    assert start(results, *arguments).end()[0] == 0
    computed = [set((place / "computed").read_text().splitlines()) for place in (results, whole)]
    assert len(computed[1]) == 1
    assert computed[0] == computed[1]
    assert len({(folder / "metrics.csv").read_bytes() for folder in folders}) == 1


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_a_run_which_then_resumes(results, unbroken, number, expected):
    run, folder = start(results, *long()), folder_of(results)
    run.until(lambda: newest(folder) >= 20)
    code, out, err = run.end(number)
    assert (code, out) == (expected, "")
    assert err == f"stopped by {signal.Signals(number).name}; the same command resumes from there\n"
    assert state_of(folder) == "interrupted"
    saved = newest(folder)
    assert 20 <= saved < UPDATES
    assert start(results, *long()).end()[0] == 0
    assert state_of(folder) == "done"
    same(results, unbroken)


@pytest.mark.parametrize("during", ["training", "evaluation"])
def test_a_signal_ends_the_whole_sweep(results, during):
    sweep = ("-m", f"protocol.updates={UPDATES}", "seed=0,1")
    folder = folder_of(results)
    run = start(results, *sweep, evaluation=2 * (during == "evaluation"))
    run.until((results / "computed").exists if during == "evaluation" else lambda: newest(folder) >= 20)
    code, _, err = run.end(signal.SIGTERM)
    assert code == 143, err
    assert not folder_of(results, seed=1).exists()
    assert len(list(results.glob("records/*.json"))) == (1 if during == "evaluation" else 0)
    code, out, _ = start(results, *sweep).end()
    assert code == 0
    assert out.splitlines()[-1].startswith("1 done, 0 failed, 1 skipped" if during == "evaluation" else "2 done")


def test_a_full_disk_keeps_the_checkpoint_before(results, unbroken):
    folder = folder_of(results)
    code, _, err = start(results, *long(), full_at=60).end()
    assert code == 1
    assert "File too large" in err
    assert newest(folder) == 55
    assert leftovers(folder) == ["checkpoint-000000050.pt", "checkpoint-000000055.pt"]
    assert "File too large" in json.loads((folder / "failure.json").read_text())["reason"]
    assert state_of(folder) == "failed"
    assert start(results, *long()).end()[0] == 0
    assert not (folder / "failure.json").exists()
    same(results, unbroken)


def test_a_flipped_byte_is_refused_and_the_checkpoint_before_used(results, unbroken):
    folder = folder_of(results)
    start(results, *long(), full_at=60).end()  # leaves two checkpoints
    path = folder / "checkpoint-000000055.pt"
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 0xFF
    path.write_bytes(content)
    assert start(results, *long()).end()[0] == 0
    log = (folder / "run.log").read_text()
    assert f"{path} is damaged and not used" in log
    assert "resumes after update 50" in log
    same(results, unbroken)


def test_a_run_that_diverges_says_where_and_the_sweep_continues(results):
    diverging, good = (("protocol.updates=10", f"protocol.lr={lr}") for lr in ("1e30", "0.03"))
    code, out, _ = start(results, "-m", "protocol.updates=10", "protocol.lr=1e30,0.03").end()
    assert code == 1
    assert out.splitlines()[-1].startswith("1 done, 1 failed, 0 skipped")
    failure = json.loads((results / "runs" / key_of(*diverging) / "failure.json").read_text())
    assert "is not finite at update 1 (learning rate 1e+30): ce=" in failure["reason"]
    assert [path.stem for path in (results / "records").iterdir()] == [key_of(*good)]
