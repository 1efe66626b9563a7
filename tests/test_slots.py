"""Slots of GPUs between real processes; the GPUs are names."""

import json
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from cotune_bench import cli
from cotune_bench.config import compose_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.reports.status import cell_state
from cotune_bench.storage.records import RecordStore
from cotune_bench.training import experiment, runner, slots

HOLDER = """
import sys, time
from pathlib import Path
from cotune_bench.training import slots
slots.PAUSE = 0.01
folder, each, *devices = sys.argv[1:]
with slots.slot(devices, int(each), folder=Path(folder), waiting=lambda: print("waits", flush=True)) as place:
    print(place, flush=True)
    time.sleep(60)
"""


class Holder:
    """A process that takes a slot and keeps it until it is killed."""

    def __init__(self, folder: Path, each: int, *devices: str) -> None:
        command = [sys.executable, "-c", HOLDER, str(folder), str(each), *devices]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(slots, "PAUSE", 0.01)


def test_devices_are_filled_evenly_and_a_killed_holder_makes_room(tmp_path):
    holders: list[Holder] = []
    try:
        for expected in ("0", "1", "0", "1"):
            holders.append(Holder(tmp_path, 2, "a", "b"))
            assert holders[-1].line() == expected
        waiter = Holder(tmp_path, 2, "a", "b")
        holders.append(waiter)
        assert [waiter.line() for _ in range(3)] == ["waits"] * 3
        holders[1].kill()
        while (line := waiter.line()) == "waits":
            pass
        assert line == "1"
    finally:
        for holder in holders:
            holder.kill()


def test_a_slot_is_free_after_the_context_even_if_it_ends_by_an_error(tmp_path, fast):
    for _ in range(3):
        with pytest.raises(KeyError), slots.slot(["a"], 1, folder=tmp_path):
            raise KeyError
    with slots.slot(["a"], 1, folder=tmp_path) as place:
        assert place == 0


def test_the_same_device_has_the_same_slots_whatever_else_a_process_sees(tmp_path, fast):
    with ExitStack() as taken:
        assert taken.enter_context(slots.slot(["a", "b"], 1, folder=tmp_path)) == 0
        assert taken.enter_context(slots.slot(["b"], 1, folder=tmp_path)) == 0  # a process that sees only b
        assert taken.enter_context(slots.slot(["b", "c"], 1, folder=tmp_path)) == 1


def test_what_waiting_raises_ends_the_wait(tmp_path, fast):
    def waiting():
        raise TimeoutError

    with (
        slots.slot(["a"], 1, folder=tmp_path),
        pytest.raises(TimeoutError),
        slots.slot(["a"], 1, folder=tmp_path, waiting=waiting),
    ):
        pass


def test_the_folder_of_locks_is_this_user_s_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = slots.host_folder()
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert slots.host_folder() == folder
    folder.chmod(0o777)
    with pytest.raises(UserError, match="not a folder of yours alone"):
        slots.host_folder()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="not a folder of yours alone"):
        slots.host_folder()


# Runs, on CPUs that pass for GPUs -----------------------------------------------------------------------------------

TINY = ("method=finetune", "backbone.weights=random", "protocol.updates=2")


@pytest.fixture
def two_gpus(tmp_path, monkeypatch, fast) -> Path:
    """An empty working directory on a machine that seems to have two GPUs; gives the folder of their slots."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["run.py"])
    monkeypatch.setattr(experiment, "devices", lambda name: [torch.device("cpu")] * 2)
    monkeypatch.setattr(experiment, "gpu_names", lambda found: ["a", "b"])
    (tmp_path / "slots").mkdir()
    monkeypatch.setattr(slots, "host_folder", lambda: tmp_path / "slots")
    return tmp_path / "slots"


def test_a_run_takes_a_slot_and_gives_it_back(two_gpus, monkeypatch):
    train, seen = experiment.Experiment.train, []

    def noted(self, *values):
        with slots.slot(["a", "b"], 1) as place:
            seen.append(place)
        train(self, *values)

    monkeypatch.setattr(experiment.Experiment, "train", noted)
    assert cli.main([*TINY]) == 0
    assert seen == [1]
    with slots.slot(["a", "b"], 1) as place:
        assert place == 0


def test_a_run_that_finds_no_slot_waits_says_so_and_does_not_count_the_time(two_gpus, capsys, monkeypatch):
    key = run_key(compose_config(TINY))
    store, seen, late = RecordStore(Path("results")), [], []
    holders = [Holder(two_gpus, 1, "a", "b"), Holder(two_gpus, 1, "a", "b")]
    assert {holder.line() for holder in holders} == {"0", "1"}
    clock, wait = time.monotonic, runner._wait
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 1000 * len(late))

    def waiting(status, stop):
        wait(status, stop)
        seen.append(cell_state(store, key))
        if len(seen) == 3:
            late.append(1)  # the wait took 1000 s
            holders[1].kill()

    monkeypatch.setattr(runner, "_wait", waiting)
    try:
        assert cli.main([*TINY]) == 0
    finally:
        for holder in holders:
            holder.kill()
    assert {state for state, _ in seen} == {"waiting"}
    assert seen[0][1].endswith("for a GPU slot")
    err = capsys.readouterr().err
    assert err.count("waits for a GPU slot; gpu_slots=N lets N runs share a GPU") == 1
    record = json.loads(store.path(key).read_text())
    assert record["seconds"] < 500
    assert json.loads((store.results / "runs" / key / "status.json").read_text())["state"] == "done"


def test_gpu_slots_do_not_define_a_result_and_bad_numbers_are_refused(two_gpus, capsys):
    assert run_key(compose_config([*TINY, "gpu_slots=3"])) == run_key(compose_config(TINY))
    for bad, told in {"0": "1 or more", "1.5": "a whole number", "two": "a whole number"}.items():
        assert cli.main([*TINY, f"gpu_slots={bad}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: gpu_slots={bad} cannot be used: it must be {told}")


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match=f"device={name} cannot be used") as error:
        experiment.devices(name)
    assert "\n" not in str(error.value)


def test_without_gpus_auto_is_the_cpu_and_takes_no_slot(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert experiment.devices("auto") == [torch.device("cpu")]
    assert experiment.gpu_names([torch.device("cpu")]) == []


def test_auto_is_any_gpu_and_a_named_one_is_that(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    both = [torch.device("cuda:0"), torch.device("cuda:1")]
    assert experiment.devices("auto") == both
    assert experiment.devices("cuda") == both[:1]
    assert experiment.devices("cuda:1") == both[1:]
    with pytest.raises(UserError, match="2 GPUs are visible"):
        experiment.devices("cuda:2")
