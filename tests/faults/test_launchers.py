"""Faults under Hydra's launchers: workers killed, jobs preempted and timed out."""

import os
import signal
import time
from pathlib import Path

import pytest
import trees

from cotune_bench import cli
from faults.children import (
    FAULTS,
    Child,
    at_work,
    cells,
    folder_of,
    held,
    launch,
    newest,
    outcomes,
    same,
    state_of,
    status,
)

pytestmark = FAULTS

JOBS = ("jobs=2",)
LOCAL = ("hydra/launcher=submitit_local",)


@pytest.fixture(scope="module")
def basic(tmp_path_factory) -> dict[int, dict]:
    """Four cells that nothing happened to, one after the other."""
    results = tmp_path_factory.mktemp("basic") / "results"
    results.mkdir()
    code, out, err = launch(results, *cells("0,1,2,3")).end()
    assert code == 0, err
    assert out.splitlines()[-1].startswith("4 done, 0 failed, 0 skipped; 4 cells")
    return outcomes(results)


@pytest.mark.parametrize("launcher", [JOBS, LOCAL])
def test_every_launcher_gives_the_same_bits_with_the_same_threads(results, basic, launcher):
    code, out, err = launch(results, *cells("0,1"), *launcher).end()
    assert code == 0, err
    assert out.splitlines()[-1].startswith("2 done, 0 failed, 0 skipped; 2 cells")
    same(results, basic, 2)


def test_a_preempted_job_is_queued_again_and_resumes_in_the_same_folder(results, basic):
    hold = held(results)
    run = launch(results, *cells("0,1"), *LOCAL)
    at_work(results, run, 0, 1)
    first = status(results, 0)["pid"]
    os.kill(first, signal.SIGUSR2)
    run.until(lambda: status(results, 0)["pid"] != first)
    saved = newest(folder_of(results))
    hold.unlink()
    code, out, err = run.end()
    assert code == 0, err
    assert out.splitlines()[-1].startswith("2 done, 0 failed, 0 skipped; 2 cells")
    assert f"resumes after update {saved}" in (folder_of(results) / "run.log").read_text()
    same(results, basic, 2)


def test_a_job_out_of_time_is_queued_again_and_resumes(results):
    """Of its one minute the local executor gives a job the first half, then the signal."""
    hold = held(results)
    logs = results / "slurm"
    launcher = ("hydra.launcher.timeout_min=1", f"hydra.launcher.submitit_folder={logs}/%j")
    run = launch(results, "protocol.updates=600", "seed=0", *LOCAL, *launcher)

    def told(file: str, text: str) -> bool:
        return any(text in path.read_text() for path in results.glob(file))

    run.until(lambda: told("slurm/*/*_log.err", "timed-out"))
    if not any(results.glob("runs/*/checkpoint-*")):
        run.end(signal.SIGTERM)
        pytest.skip("this machine is too busy to begin a run within 30 s")
    hold.unlink()
    code, out, err = run.end()
    assert code == 0, err
    assert out.splitlines()[-1].startswith("1 done, 0 failed, 0 skipped; 1 cell")
    assert told("runs/*/run.log", "resumes after update")


def test_a_job_that_runs_out_of_time_too_often_is_reported(results):
    hold = held(results)
    # Of ten minutes submitit takes any signal for a time-out.
    run = launch(results, *cells("0"), *LOCAL, "hydra.launcher.timeout_min=10", "+hydra.launcher.max_num_timeout=0")
    at_work(results, run, 0)
    os.kill(status(results, 0)["pid"], signal.SIGUSR2)
    code, out, err = run.end()
    hold.unlink()
    assert (code, out.splitlines()[-1].partition(";")[0]) == (1, "0 done, 1 failed, 0 skipped"), err
    assert "timed-out too many times; the same command resumes from there" in err
    assert state_of(folder_of(results)) == "interrupted"


def test_a_killed_run_of_jobs_takes_no_other_along(results, basic):
    hold = held(results)
    run = launch(results, *cells("0,1,2,3"), *JOBS)
    at_work(results, run, 0, 1)
    os.kill(status(results, 0)["pid"], signal.SIGKILL)
    hold.unlink()
    code, out, err = run.end()
    assert code == 1
    assert out.splitlines()[-1].startswith("3 done, 1 failed, 0 skipped; 4 cells")
    assert err.splitlines()[-1].endswith(
        "killed by SIGKILL (out of memory?); the same command resumes from its checkpoint"
    )
    code, out, err = launch(results, *cells("0,1,2,3"), *JOBS).end()
    assert (code, out.splitlines()[-1].partition(";")[0]) == (0, "1 done, 0 failed, 3 skipped"), err
    same(results, basic, 4)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_jobs_sweep_leaves_no_process_behind(results):
    hold = held(results)
    run = launch(results, *cells("0,1,2,3"), *JOBS)
    at_work(results, run, 0, 1)
    runs = [status(results, seed)["pid"] for seed in (0, 1)]
    workers = [parent(pid) for pid in runs]
    assert run.end(signal.SIGKILL)[0] == -signal.SIGKILL
    while not all(gone(pid) for pid in [*runs, *workers]):
        time.sleep(0.01)
    hold.unlink()
    assert [state_of(folder_of(results, seed)) for seed in (0, 1)] == ["interrupted"] * 2
    assert not list(results.glob("records/*"))


@pytest.mark.parametrize("to", ["the sweep", "a run"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_jobs_sweep_or_its_run_saves_all_runs_and_the_sweep_continues(results, basic, number, to):
    hold = held(results)
    run = launch(results, *cells("0,1,2,3"), *JOBS)
    at_work(results, run, 0, 1)
    if to == "a run":
        os.kill(status(results, 0)["pid"], number)
    code, _, err = run.end(number if to == "the sweep" else None)
    assert code == 128 + number, err
    assert err.splitlines()[-1] == f"stopped by {number.name}; the same command resumes from there"
    assert [state_of(folder_of(results, seed)) for seed in (0, 1)] == ["interrupted"] * 2
    assert not list(results.glob("records/*"))
    assert not list(results.glob(".sweeps/*"))
    hold.unlink()
    code, out, err = launch(results, *cells("0,1,2,3"), *JOBS).end()
    assert (code, out.splitlines()[-1].partition(";")[0]) == (0, "4 done, 0 failed, 0 skipped"), err
    same(results, basic, 4)


def test_two_signals_at_once_to_a_jobs_sweep_end_it_in_one_line(results):
    hold = held(results)
    run = launch(results, *cells("0,1"), *JOBS)
    at_work(results, run, 0, 1)
    os.kill(run.pid, signal.SIGINT)
    time.sleep(0.05)
    code, _, err = run.end(signal.SIGINT)
    hold.unlink()
    assert code == 130, err
    assert err.splitlines()[-1] in (
        "interrupted; the same command continues with what is missing",
        "stopped by SIGINT; the same command resumes from there",
    )
    assert "Traceback" not in err


def test_image_files_are_decoded_once_by_processes_of_jobs(results, tmp_path, monkeypatch):
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    tree = trees.folders(tmp_path / "images", {f"{part}/{kind}": 6 for part in ("train", "test") for kind in "ab"})
    small = ("protocol.updates=2", "protocol.batch_size=4", "protocol.resize=40", "protocol.crop=32")
    data = ("data=folder", f"data.root={tree}", "backbone=resnet18", "backbone.weights=random", "protocol.threads=1")
    sweep = ("-m", "method=finetune", "seed=0,1,2", "rate=1.0", *data, *small, "device=cpu", f"results={results}")
    code, out, err = Child(tmp_path, cli.main, [*sweep, *JOBS]).end()
    assert (code, out.splitlines()[-1].partition(";")[0]) == (0, "3 done, 0 failed, 0 skipped"), err
    assert len(list((tmp_path / "cache" / "decoded").glob("*.uint8"))) == 1
