"""Checkpoints, resumed training and the wish to stop; real processes are killed in tests/faults."""

import dataclasses
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import PROTOCOL, make_data
from test_methods import TRAINED
from toy_methods import make_method

from cotune_bench.errors import UserError
from cotune_bench.training.checkpoint import Checkpoints
from cotune_bench.training.engine import fit
from cotune_bench.training.interrupts import InterruptedRun, StopRequest


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path, every=5)


def state(value: float) -> dict:
    return {"method": {"weight": torch.full((300,), value)}, "pending": [{"ce": torch.tensor(value)}]}


def flip(path: Path, place: int) -> None:
    """Turn one bit."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_what_is_saved_is_loaded(checkpoints):
    assert checkpoints.load() is None
    path = checkpoints.save(5, state(0.1))
    assert path.name == "checkpoint-000000005.pt"
    loaded = checkpoints.load()
    assert loaded["updates"] == 5
    assert torch.equal(loaded["method"]["weight"], torch.full((300,), 0.1))
    assert loaded["pending"] == [{"ce": torch.tensor(0.1)}]


def test_the_time_of_earlier_parts_counts_and_the_time_between_does_not(tmp_path, monkeypatch):
    clock = iter([100.0, 130.0, 5000.0, 5025.0])  # begun, saved; begun on another machine, saved
    monkeypatch.setattr("cotune_bench.training.checkpoint.time", SimpleNamespace(monotonic=lambda: next(clock)))
    Checkpoints(tmp_path, 5).save(5, state(1))
    again = Checkpoints(tmp_path, 5)
    assert again.load()["seconds"] == 30
    assert again.started == 4970
    again.save(10, state(2))
    assert again.load()["seconds"] == 55


def test_the_newest_two_are_kept_and_all_deleted_at_the_end(checkpoints):
    (checkpoints.folder / "metrics.csv").write_text("mine")
    for updates in (5, 10, 15):
        checkpoints.save(updates, state(updates))
    assert [path.name for path in checkpoints.files()] == ["checkpoint-000000015.pt", "checkpoint-000000010.pt"]
    assert checkpoints.load()["updates"] == 15
    checkpoints.delete()
    assert [path.name for path in checkpoints.folder.iterdir()] == ["metrics.csv"]


def test_halves_that_a_kill_left_behind_are_cleared_and_never_loaded(checkpoints):
    checkpoints.save(5, state(1))
    half = checkpoints.folder / ".checkpoint-000000010.pt.k7x_"
    half.write_bytes(checkpoints.files()[0].read_bytes()[:700])
    assert checkpoints.load()["updates"] == 5
    assert not half.exists()


def cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


@pytest.mark.parametrize(
    ("damage", "place"), [*((flip, place) for place in (0, 31, 32, -1, 1500)), *((cut, n) for n in (0, 10, 32, 900))]
)
def test_one_turned_bit_or_a_cut_is_noticed_named_and_the_one_before_used(checkpoints, caplog, damage, place):
    older, newer = checkpoints.save(5, state(1)), checkpoints.save(10, state(2))
    damage(newer, place)
    assert checkpoints.load()["updates"] == 5
    (message,) = caplog.messages
    assert message.startswith(f"{newer} is damaged and not used")
    damage(older, place)
    caplog.clear()
    assert checkpoints.load() is None
    assert [message.split(" ")[0] for message in caplog.messages] == [str(newer), str(older)]


LONG = dataclasses.replace(PROTOCOL, updates=9, drop_at=(6,), augment="shift", shift=1, flip=True)


class StopAfter:
    """In place of a signal during one update."""

    def __init__(self, updates: int) -> None:
        self.left = updates

    @property
    def number(self) -> int | None:
        self.left -= 1
        return signal.SIGTERM if self.left == 0 else None


def trained(name: str, cache, checkpoints=None, stop=None) -> tuple[dict, list]:
    """Weights after fitting, and what was reported every four updates."""
    method = make_method(name)
    reports: list[tuple] = []
    data = make_data(protocol=LONG)
    keep = {"report": lambda *told: reports.append(told), "report_every": 4}
    try:
        fit(method, data, LONG, seed=3, cache=cache, checkpoints=checkpoints, stop=stop, **keep)
    except InterruptedRun:
        return {}, reports
    return method.state_dict(), reports


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_stopped_in_the_middle_of_a_report_resumes_to_the_same_bits(name, cache, tmp_path):
    weights, reports = trained(name, cache)
    assert [updates for updates, _, _ in reports] == [4, 8, 9]
    torch.rand(7)  # what happens to the global random state in between does not matter
    checkpoints = Checkpoints(tmp_path, every=100)
    parts = []
    for stop in (StopAfter(3), StopAfter(4), None):  # after updates 3 and 7
        resumed, part = trained(name, cache, checkpoints, stop)
        parts += part
    assert parts == reports
    assert resumed.keys() == weights.keys()
    for key, value in weights.items():
        assert torch.equal(resumed[key], value), key


@pytest.mark.parametrize("every", [1, 3, 4])
def test_a_run_that_lost_its_last_updates_repeats_them_to_the_same_bits(every, cache, tmp_path):
    weights, reports = trained("finetune", cache)
    checkpoints = Checkpoints(tmp_path, every=every)
    trained("finetune", cache, checkpoints)
    flip(checkpoints.files()[0], 40)
    resumed, part = trained("finetune", cache, checkpoints)
    assert reports[-len(part) :] == part
    assert all(torch.equal(resumed[key], value) for key, value in weights.items())


def test_a_checkpoint_after_the_last_update_leaves_nothing_to_train(cache, tmp_path):
    checkpoints = Checkpoints(tmp_path, every=9)
    weights, _ = trained("finetune", cache, checkpoints)
    resumed, reports = trained("finetune", cache, checkpoints)
    assert reports == []
    assert all(torch.equal(resumed[key], value) for key, value in weights.items())


def test_a_checkpoint_of_other_layers_is_refused_and_kept(cache, tmp_path):
    checkpoints = Checkpoints(tmp_path, every=100)
    trained("finetune", cache, checkpoints, StopAfter(3))
    with pytest.raises(UserError, match=r"checkpoints of another version.*delete its checkpoint-\*\.pt"):
        trained("cotuning", cache, checkpoints)
    assert [path.name for path in checkpoints.files()] == ["checkpoint-000000003.pt"]


def test_a_checkpoint_of_other_source_weights_is_refused(cache, tmp_path):
    checkpoints = Checkpoints(tmp_path, every=100)
    trained("finetune", cache, checkpoints, StopAfter(3))
    state = checkpoints.load()
    assert state
    checkpoints.save(3, state | {"weights_id": "others"})
    with pytest.raises(UserError, match="begun with other source weights"):
        trained("finetune", cache, checkpoints)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_the_first_signal_asks_for_a_stop_and_only_a_second_ctrl_c_acts_as_before(number):
    acted, asked = [], []
    before = signal.signal(number, lambda number, _frame: acted.append(number))
    try:
        with StopRequest(asked.append) as stop:
            assert stop.number is None
            signal.raise_signal(number)
            assert (stop.number, acted, asked) == (number, [], [number])
            signal.raise_signal(number)
            assert (acted, asked) == ([number] if number == signal.SIGINT else [], [number])
        acted.clear()
        signal.raise_signal(number)
        assert acted == [number]
    finally:
        signal.signal(number, before)
