"""Sweeps on a real Slurm, which cluster.sh starts: two nodes of one CPU each, no accounting."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.children import FAULTS, at_work, cells, folder_of, held, launch, outcomes, same, state_of, status

from cotune_bench.reports.status import cell_state
from cotune_bench.storage.records import RecordStore

CLUSTER = Path(__file__).with_name("cluster.sh")
PATH = f"{os.environ['PATH']}:/usr/sbin"
LACKING = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name, path=PATH)]
pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(LACKING), reason=f"not here: {', '.join(LACKING)} (apt-get install slurm-wlm munge)"),
    FAULTS[1],
]

SLURM = (
    "hydra/launcher=slurm",
    "hydra.launcher.gpus_per_node=null",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
)
MOST_SECONDS = 240  # of a test; it takes 20 to 100


def slurm(*command: str) -> str:
    """What a command of Slurm prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def until(reached: Callable[[], object]) -> None:
    while not reached():
        time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("cluster")
    try:
        subprocess.run([CLUSTER, "up", folder], check=True)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SLURM_CONF", str(folder / "slurm.conf"))
            environment.setenv("PAUSE", "0.5")  # a held run takes a minute, for what Slurm needs seconds for
            yield
    finally:
        subprocess.run([CLUSTER, "down", folder], check=True)


@pytest.fixture(autouse=True)
def emptied(cluster) -> Iterator[None]:
    """A time limit for the test, and no job left after it."""

    def late(_number, _frame) -> None:
        raise TimeoutError(f"more than {MOST_SECONDS} s: {slurm('squeue', '--states=all')}")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(MOST_SECONDS)
    yield
    signal.alarm(60)
    slurm("scancel", "--me")
    until(lambda: not slurm("squeue", "--noheader"))
    signal.alarm(0)


@pytest.fixture
def results(tmp_path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


@pytest.fixture(scope="module")
def basic(cluster, tmp_path_factory) -> dict[int, dict]:
    """Four cells without Slurm."""
    results = tmp_path_factory.mktemp("basic") / "results"
    results.mkdir()
    assert launch(results, *cells("0,1,2,3")).end()[0] == 0
    return outcomes(results)


def ended(run) -> tuple[int | None, str]:
    """Exit code, and how many cells ended in which way."""
    code, out, _ = run.end()
    return code, next(line for line in out.splitlines() if " skipped" in line).partition("; ")[0]


def job(results: Path, seed: int) -> str:
    return status(results, seed)["slurm_job"]


def again(results: Path, run, *seeds: int) -> None:
    """Wait until other processes than now run these cells."""
    first = {seed: status(results, seed)["pid"] for seed in seeds}
    run.until(lambda: all(status(results, seed)["pid"] != pid for seed, pid in first.items()))


def log(results: Path, seed: int) -> str:
    return (folder_of(results, seed) / "run.log").read_text()


def test_a_table_with_more_cells_than_an_array_may_have_runs_in_batches(results, basic):
    table = ("table=desk", "data=digits", *cells("0,1,2,3"), *SLURM)
    run = launch(results, *table)
    assert ended(run) == (1, "0 done, 0 failed, 0 skipped, 4 did not end: start the same command again")
    assert "Invalid job array specification" in run.end()[2]
    run = launch(results, *table, "hydra.sweeper.max_batch_size=3")
    assert ended(run) == (0, "4 done, 0 failed, 0 skipped")
    assert "sacct" not in run.end()[2]
    same(results, basic, 4)


def test_a_cancelled_job_saves_its_run_and_the_same_command_resumes_it(results, basic):
    hold = held(results)
    run = launch(results, *cells("0,1"), *SLURM)
    at_work(results, run, 0, 1)
    slurm("scancel", job(results, 0))
    hold.unlink()
    assert ended(run) == (1, "1 done, 0 failed, 0 skipped, 1 did not end: start the same command again")
    assert "(state: CANCELLED)" in run.end()[2]
    assert state_of(folder_of(results, 0)) == "interrupted"
    assert "INFO stopped by SIGTERM" in log(results, 0)
    assert "ERROR" not in log(results, 0)
    assert ended(launch(results, *cells("0,1"), *SLURM)) == (0, "1 done, 0 failed, 1 skipped")
    same(results, basic, 2)


def test_a_job_out_of_time_is_queued_again_and_resumes(results):
    """Half a minute to a minute after the start; Slurm looks at time limits twice a minute, and signals early."""
    hold = held(results)
    time_limit = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=60")
    run = launch(results, *cells("0"), *SLURM, *time_limit)
    at_work(results, run, 0)
    _, line = cell_state(RecordStore(results), folder_of(results, 0).name)
    assert f", Slurm job {job(results, 0)} running, " in line
    again(results, run, 0)
    hold.unlink()
    assert ended(run) == (0, "1 done, 0 failed, 0 skipped")
    assert "resumes after update" in log(results, 0)
    assert "ERROR" not in log(results, 0)
    (job_log,) = results.glob("slurm/*/*_log.out")
    assert "this job is timed-out" in job_log.read_text()


def test_preempted_jobs_are_queued_again_and_resume(results, basic):
    hold = held(results)
    run = launch(results, *cells("0,1"), *SLURM)
    at_work(results, run, 0, 1)
    slurm("sbatch", "--partition=high", "--nodes=2", "--output=/dev/null", "--wrap=sleep 3")
    again(results, run, 0, 1)
    hold.unlink()
    assert ended(run) == (0, "2 done, 0 failed, 0 skipped")
    assert all("resumes after update" in log(results, seed) for seed in (0, 1))
    same(results, basic, 2)


def test_the_job_of_a_node_that_goes_down_runs_on_another(results, basic):
    hold = held(results)
    run = launch(results, *cells("0,1"), *SLURM)
    at_work(results, run, 0, 1)
    node = slurm("squeue", "--noheader", "--format=%N", f"--jobs={job(results, 0)}")
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        hold.unlink()
        assert ended(run) == (0, "2 done, 0 failed, 0 skipped")
    finally:
        slurm("scontrol", "update", f"nodename={node}", "state=resume")
    same(results, basic, 2)


def test_jobs_outlive_the_command_and_the_next_one_shares_their_cells(results, basic):
    hold = held(results)
    run = launch(results, *cells("0,1"), *SLURM)
    at_work(results, run, 0, 1)
    assert run.end(signal.SIGKILL)[0] == -signal.SIGKILL
    run = launch(results, *cells("0,1"), *SLURM)
    run.until(lambda: slurm("squeue", "--noheader", "--states=pending"))
    hold.unlink()
    assert ended(run) == (0, "0 done, 0 failed, 2 skipped")
    same(results, basic, 2)


def test_two_commands_share_the_cells(results, basic):
    one_by_one = (*SLURM, "hydra.launcher.array_parallelism=1")
    runs = [launch(results, *cells("0,1"), *one_by_one) for _ in range(2)]
    ends = [ended(run) for run in runs]
    assert [code for code, _ in ends] == [0, 0]
    assert sum(int(line.partition(" done")[0]) for _, line in ends) == 2
    same(results, basic, 2)
