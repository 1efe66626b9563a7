"""The state of a table's cells, told from files that were put there by hand."""

import json
import os
import re
import shlex
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cotune_bench import cli
from cotune_bench.config import CONF, compose_config, run_key
from cotune_bench.reports.status import duration, rerun_commands, status_lines, table_status

ROOT = CONF.parent
#: 60 cells, whatever the yaml of the table holds.
CELLS = ["data=digits", "method=finetune,l2sp,delta,bss,cotuning", "rate=0.15,0.3,0.5,1.0", "seed=0,1,2"]
GONE = 2**22 + 1  # above the largest process id of Linux


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "results"


def key_of(method: str, rate: float, seed: int, *rest: str) -> str:
    return run_key(compose_config([f"method={method}", f"rate={rate}", f"seed={seed}", *rest]))


def put(results: Path, key: str, state: str, *, silent: float = 0, **more) -> None:
    """A status.json as a run writes it."""
    heard = (datetime.now(UTC) - timedelta(seconds=silent)).isoformat(timespec="seconds")
    values = {"host": socket.gethostname(), "pid": os.getpid(), "updates": 300, "heard": heard, "state": state}
    folder = results / "runs" / key
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({**values, **more}))


def finish(results: Path, key: str) -> None:
    (results / "records").mkdir(parents=True, exist_ok=True)
    (results / "records" / f"{key}.json").write_text("only looked for")


def states(results: Path, *overrides: str) -> dict[tuple, tuple[str, str]]:
    table = table_status("desk", [f"results={results}", *CELLS, *overrides])
    return {(cell.method, cell.rate, cell.unit): (cell.state, cell.detail) for cell in table.cells}


def one(results: Path) -> tuple[str, str]:
    """State of finetune at rate 0.3, seed 2."""
    (state,) = states(results, "method=finetune", "rate=0.3", "seed=2").values()
    return state


def test_without_a_results_folder_everything_is_missing_and_nothing_is_made(results):
    found = states(results)
    assert len(found) == 60
    assert set(found.values()) == {("missing", "")}
    assert not results.exists()


def test_a_record_of_these_settings_means_done_whatever_else_exists(results):
    put(results, key_of("finetune", 0.3, 2), "running", pid=GONE)
    finish(results, key_of("finetune", 0.3, 2))
    finish(results, key_of("finetune", 0.3, 1, "protocol.updates=7"))
    assert one(results) == ("done", "")
    assert states(results)["finetune", 0.3, 1] == ("missing", "")
    found = states(results, "protocol.updates=7")
    assert [cell for cell, (state, _) in found.items() if state == "done"] == [("finetune", 0.3, 1)]


@pytest.mark.parametrize(
    ("state", "more", "told"),
    [
        ("running", {"done": 120, "eta_s": 150.2, "silent": 50}, "running: HERE, 120/300 updates, 3 min left"),
        ("running", {"done": 0, "eta_s": None, "host": "far", "pid": 7}, "running: far pid 7, 0/300 updates"),
        ("running", {"done": 5, "pid": GONE}, "stale: .*, 5/300 updates, its process is gone"),
        ("running", {"done": 5, "host": "far", "silent": 70}, "stale: .*5/300 updates, last heartbeat 7[0-9] s ago"),
        ("interrupted", {}, "interrupted: at 20.*"),
        ("failed", {"reason": "ValueError: no luck\nand more"}, "failed: ValueError: no luck"),
    ],
)
def test_a_status_is_reported_in_one_line(results, state, more, told):
    put(results, key_of("finetune", 0.3, 2), state, **more)
    folder = results / "runs" / key_of("finetune", 0.3, 2)
    (folder / "failure.json").write_text('{"reason": "of an earlier try"}')
    assert re.fullmatch(told.replace("HERE", f"{socket.gethostname()} pid {os.getpid()}"), ": ".join(one(results)))


def test_the_job_of_slurm_and_its_state_are_shown_beside_the_cell(results, tmp_path, monkeypatch):
    put(results, key_of("finetune", 0.3, 0), "interrupted", slurm_job="4_0")
    put(results, key_of("finetune", 0.3, 1), "running", done=0, slurm_job="4_1")
    put(results, key_of("finetune", 0.3, 2), "running", done=0, slurm_job="3")
    monkeypatch.setenv("PATH", str(tmp_path))
    given = ("method=finetune", "rate=0.3")
    assert [detail.partition("Slurm job ")[2] for _, detail in states(results, *given).values()] == [
        "4_0",
        "4_1, 0/300 updates",
        "3, 0/300 updates",
    ]
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\necho >>{tmp_path}/calls\necho '4_0|PENDING|BeginTime'\necho '4_1|RUNNING|None'\n")
    squeue.chmod(0o755)
    assert [detail.partition("Slurm job ")[2] for _, detail in states(results, *given).values()] == [
        "4_0 pending (BeginTime)",
        "4_1 running, 0/300 updates",
        "3 ended, 0/300 updates",
    ]
    assert (tmp_path / "calls").read_text() == "\n"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("failure", '{"reason": "early"}', "early"),
        ("status", "{", ".*status.json cannot be read; run the cell again"),
    ],
)
def test_a_failure_without_a_status_and_a_damaged_status_are_failed(results, name, text, told):
    folder = results / "runs" / key_of("finetune", 0.3, 2)
    folder.mkdir(parents=True)
    (folder / f"{name}.json").write_text(text)
    state, line = one(results)
    assert state == "failed"
    assert re.fullmatch(told, line)


def test_the_lines_hold_a_grid_the_open_cells_and_totals(results):
    for seed in (0, 1):
        finish(results, key_of("l2sp", 1.0, seed))
    put(results, key_of("l2sp", 1.0, 2), "failed", reason="out of luck")
    given = [f"results={results}", *CELLS, "method=finetune,l2sp", "rate=0.5,1.0"]
    assert status_lines(table_status("desk", given)) == [
        f"desk in {results}",
        "",
        "                  0.5  1",
        "digits  finetune  0/3  0/3",
        "digits  l2sp      0/3  2/3",
        "",
        "failed       digits l2sp rate 1 seed 2: out of luck",
        "missing      digits finetune rates 0.5, 1 seeds 0, 1, 2",
        "missing      digits l2sp rate 0.5 seeds 0, 1, 2",
        "",
        "12 cells: 2 done, 1 failed, 9 missing",
    ]


def test_replicates_are_named_as_such_and_run_again_as_such(results):
    given = ["data=digits", "method=bss", "rate=0.3", "replicate=0,4", f"results={results}"]
    key = run_key(compose_config(["method=bss", "rate=0.3", "seed=4", "split_seed=4", "backbone.seed=4"]))
    put(results, key, "failed", reason="x")
    table = table_status("desk", given)
    assert status_lines(table)[5:7] == [
        "failed       digits bss rate 0.3 replicate 4: x",
        "missing      digits bss rate 0.3 replicate 0",
    ]
    (command,) = rerun_commands(table)
    overrides = shlex.split(command)[2:]
    assert "replicate=4" in overrides
    assert run_key(compose_config(overrides)) == key


def test_the_command_of_a_failed_cell_runs_that_cell(results):
    rest = [f"results={results}", "protocol.updates=7"]
    key = key_of("bss", 0.123456789, 1, *rest)
    put(results, key, "failed", reason="x")
    sweep = ["jobs=2", "hydra/launcher=basic"]  # how a sweep runs its cells is no setting of one
    (command,) = rerun_commands(table_status("desk", [*CELLS, "rate=0.123456789,0.5", *rest, *sweep]))
    python, script, *overrides = shlex.split(command)
    assert (python, script) == ("cotune-bench", "run")
    assert run_key(compose_config(overrides)) == key
    assert compose_config(overrides).results == str(results)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119.4, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2 h"), (200_000, "2 d")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


# The command -------------------------------------------------------------------------------------------------------


def test_the_command_shows_every_table_asked_for_and_refuses_in_one_line(results, capsys):
    assert cli.main(["status", "table=desk", *CELLS[:2], "rate=0.15", "seed=range(100)", f"results={results}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "500 cells: 500 missing"
    assert cli.main(["status", "--all"]) == cli.main(["status", "table=desc"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: unrecognized arguments: --all")
    assert second.startswith("error: table=desc is unknown")
