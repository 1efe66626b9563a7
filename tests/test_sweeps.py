"""Jobs of a sweep, their outcomes, and the launchers that start them."""

import signal

import joblib
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from steps import noted

from cotune_bench import cli
from cotune_bench.config import CONF, compose_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.inference import execution
from cotune_bench.storage.records import RecordStore
from cotune_bench.training import sweeps
from cotune_bench.training.interrupts import InterruptedRun, hand_on
from cotune_bench.training.runner import DONE, FAILED, SKIPPED, Outcome

#: Fields that differ between two runs of a cell.
LATER = dict.fromkeys(("seconds", "finished", "environment"))


@pytest.fixture
def config():
    return compose_config(["method=finetune"])


def test_outcomes_are_read_by_number_and_a_job_that_is_queued_again_keeps_its_own(tmp_path, config, monkeypatch):
    states = {0: FAILED, 2: SKIPPED}
    for number, state in (*states.items(), (0, DONE)):
        monkeypatch.setattr(sweeps, "run", lambda _config, state=state: Outcome("key", state, "told"))
        sweeps.job(config, tmp_path, number)
    assert [outcome.state for outcome in sweeps.read_outcomes(tmp_path, 4)] == [DONE, SKIPPED]
    assert sweeps.read_outcomes(tmp_path / "nowhere", 4) == []


@pytest.fixture
def stopped(monkeypatch):
    """A run that SIGUSR2 stops; the handler of the test is put back at the end."""

    def run(_config):
        raise InterruptedRun(signal.SIGUSR2)

    monkeypatch.setattr(sweeps, "run", run)
    before = signal.getsignal(signal.SIGUSR2)
    yield
    signal.signal(signal.SIGUSR2, before)


def test_a_scheduler_that_queues_a_job_again_ends_it_without_an_outcome(tmp_path, config, stopped):
    def requeue(number, _frame):
        raise SystemExit(144)

    signal.signal(signal.SIGUSR2, requeue)
    with pytest.raises(SystemExit, match="144"):
        sweeps.job(config, tmp_path, 0)
    assert sweeps.read_outcomes(tmp_path, 1) == []


def test_a_scheduler_that_does_not_is_reported_as_a_failure(tmp_path, config, stopped):
    def refuse(number, _frame):
        raise RuntimeError("timed out too many times")

    signal.signal(signal.SIGUSR2, refuse)
    sweeps.job(config, tmp_path, 0)
    (outcome,) = sweeps.read_outcomes(tmp_path, 1)
    expected = f"{run_key(config)} stopped: timed out too many times; the same command resumes from there"
    assert outcome == Outcome(run_key(config), FAILED, expected)


def test_without_a_scheduler_a_signal_ends_the_sweep(tmp_path, config, stopped):
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    with pytest.raises(InterruptedRun) as raised:
        sweeps.job(config, tmp_path, 0)
    assert raised.value.exit_code == 128 + signal.SIGUSR2
    hand_on(signal.SIGINT)  # Python's own handler would raise


def test_cells_in_processes_of_their_own_give_the_records_of_one_process(here, capsys):
    sweep = ["-m", "method=finetune,cotuning", "protocol.val=0", "protocol.updates=2", "device=cpu"]
    found = []
    for jobs in (1, 2):
        assert cli.main([*sweep, f"results=at{jobs}", f"jobs={jobs}"]) == 1  # Co-Tuning needs validation images
        assert capsys.readouterr().out.splitlines()[-1].startswith("1 done, 1 failed, 0 skipped; 2 cells in ")
        found.append([{**vars(record), **LATER} for record in RecordStore(here / f"at{jobs}").read()[0]])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("devices", "jobs", "expected"),
    [
        (["cuda:0", "cuda:1"], 3, ["cuda:0", "cuda:1", "cuda:0"]),
        (["cuda:0", "cuda:1"], -1, ["cuda:0", "cuda:1"]),
        (["cpu"], 2, ["cpu", "cpu"]),
        (["cpu"], -1, ["cpu"] * joblib.cpu_count()),
    ],
)
def test_gpus_are_filled_evenly(monkeypatch, devices, jobs, expected):
    monkeypatch.setattr(execution, "devices", lambda _name: list(map(torch.device, devices)))
    assert sweeps.places(compose_config([f"jobs={jobs}"])) == expected


def test_a_cell_takes_its_place_unless_it_names_a_device(monkeypatch, tmp_path):
    taken = []
    monkeypatch.setattr(sweeps, "job", lambda config, _folder, _number: taken.append(config.device))
    for cell in (["seed=1"], ["device=cpu"]):
        sweeps.run_cell(cell, tmp_path, 0, "cuda:1")
    assert taken == ["cuda:1", "cpu"]


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match=f"device={name} cannot be used") as error:
        execution.devices(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "gpus", "expected"),
    [("auto", 0, ["cpu"]), ("auto", 2, ["cuda:0", "cuda:1"]), ("cuda", 2, ["cuda:0"]), ("cuda:1", 2, ["cuda:1"])],
)
def test_auto_is_all_gpus_or_the_cpu_and_a_named_device_is_that(monkeypatch, name, gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert list(map(str, execution.devices(name))) == expected
    with pytest.raises(UserError, match=r"cuda:2 cannot be used"):
        execution.devices("cuda:2")


def test_slurm_jobs_outlive_the_command_and_are_queued_again():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["hydra/launcher=slurm", "results=/shared/r", "hydra.launcher.partition=gpu"]
        launcher = compose("config", overrides=overrides, return_hydra_config=True).hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert launcher.partition == "gpu"
    assert launcher.max_num_timeout > 0
    assert launcher.signal_delay_s > 0


def test_a_launcher_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    compose_config([])  # finds the plugins
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], "submitit_slurm.yaml", raising=False)
    with pytest.raises(UserError) as error:
        compose_config(["hydra/launcher=slurm", "seed=77"])
    assert "\n" not in str(error.value)
    assert str(error.value) == "hydra/launcher=submitit_slurm is not installed: pip install -e '.[slurm]'"


def test_a_launcher_that_cannot_start_is_reported_in_one_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.setattr("sys.argv", ["run.py"])
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # put back afterwards
    code = cli.main(["-m", "method=finetune", "seed=0,1", f"results={tmp_path / 'r'}", "hydra/launcher=slurm"])
    out, err = capsys.readouterr()
    assert code == 1
    (told,) = err.splitlines()
    assert told.startswith('the launcher gave up: RuntimeError: Could not detect "srun"')
    assert out.startswith("0 done, 0 failed, 0 skipped, 2 did not end: start the same command again")
    table = ["table=desk", "method=finetune", "rate=0.15", "seed=0", f"results={tmp_path / 'r'}"]
    assert cli.main([*table, "hydra/launcher=slurm"]) == 1
    assert not (tmp_path / "r" / "tables").exists()  # nothing ran that they could show


def test_without_accounting_squeue_says_which_jobs_have_ended(tmp_path, monkeypatch):
    slurm = pytest.importorskip("submitit.slurm.slurm")
    monkeypatch.setattr(slurm.SlurmJob, "watcher", slurm.SlurmJob.watcher)
    monkeypatch.setenv("PATH", str(tmp_path))
    states = {"4_0": "COMPLETING", "4_1": "CANCELLED", "4_2": "CONFIGURING", "4_3": "COMPLETED"}
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\n" + "".join(f"echo '{job}|{state}|None'\n" for job, state in states.items()))
    squeue.chmod(0o755)
    sweeps.watch_jobs()
    watcher = slurm.SlurmJob.watcher
    ended = [job for job in [*states, "4_4"] if watcher.is_done(job)]
    assert ended == ["4_1", "4_3", "4_4"]


def test_a_missing_data_set_is_reported_once_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["run.py"])
    sweep = ["-m", "data=cub,aircraft", "method=finetune,bss", "rate=0.15", "data_root=here", "results=r"]
    assert cli.main(sweep) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("error: data cub: here/CUB_200_2011/images.txt is missing")
    assert not (tmp_path / "r").exists()
    monkeypatch.setattr(
        "cotune_bench.storage.records.RecordStore.finished", lambda *_: True
    )  # then nobody needs the images
    assert cli.main(sweep) == 0
    assert capsys.readouterr().out.startswith("0 done, 0 failed, 4 skipped; 4 cells in ")


def test_cells_that_read_the_networks_of_others_begin_when_these_have_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "_run_alone", noted)
    monkeypatch.setattr(sweeps, "PRELOAD", [])
    sweeps.run_cells([[]] * 4, tmp_path, ["cpu"] * 3, before=2)
    steps = (tmp_path / "steps").read_text().split()
    assert sorted(steps[:4]) == ["begin0", "begin1", "end0", "end1"]
    assert len(steps) == 8
