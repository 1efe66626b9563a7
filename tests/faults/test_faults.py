"""Faults that are really injected into real processes: make test-faults."""

import csv
import dataclasses
import hashlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cotune_bench import cli, engine
from cotune_bench.checkpoint import Checkpoints
from cotune_bench.config import compose_config, run_key
from cotune_bench.experiment import Experiment
from cotune_bench.records import Record, RecordStore

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")]

UPDATES = 120
SMALL = ("method=finetune", "backbone.weights=random", "backbone.widths=[16,16]", "device=cpu", "checkpoint_every=5")


def slowly(function: Callable, seconds: float) -> Callable:
    """The same function after a pause, so that a kill also hits what is half written."""

    def slow(*values):
        time.sleep(seconds)
        return function(*values)

    return slow


def command_line(arguments: list[str], *, full_at: int = 0, evaluation: float = 0) -> int:
    """The command line in a child process, with slow updates and flushes; notes what it computes.

    Args:
        arguments: as for run.py.
        full_at: number of updates at which the disk is full for anything as large as a checkpoint, 0 for never.
        evaluation: seconds it takes longer.
    """
    record, save = Experiment.record, Checkpoints.save

    def noted(self, started):
        mark = hashlib.sha256()
        for name, value in self.method.state_dict().items():
            mark.update(name.encode() + value.numpy().tobytes())
        with open(Path(self.config.results) / "computed", "a") as file:
            file.write(f"{self.key} {mark.hexdigest()}\n")
        time.sleep(evaluation)
        return record(self, started)

    def limited(self, updates, state):
        if updates == full_at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))
        return save(self, updates, state)

    os.fsync = lambda _file: time.sleep(0.01)  # for a kill, unlike a power cut, only the pause matters
    engine._mix = slowly(engine._mix, 0.01)
    Experiment.record, Checkpoints.save = noted, limited
    return cli.main(arguments)


def write_records(results: Path, writer: int, template: Record) -> int:
    """Add 50 records, ten of them common to all writers, and note each that the store has taken."""
    os.fsync = slowly(os.fsync, 0.005)
    taken = os.open(results / f"taken{writer}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(50):
        key = f"common-{number}" if number < 10 else f"writer{writer}-{number}"
        RecordStore(results).add(dataclasses.replace(template, key=key))
        os.write(taken, f"{key}\n".encode())
    return 0


class Child:
    """A process of its own, forked because importing torch takes longer than these runs."""

    def __init__(self, folder: Path, function: Callable[..., int], *values, **options) -> None:
        self.told = Path(tempfile.mkdtemp(dir=folder))
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                sys.stdout, sys.stderr = ((self.told / name).open("w", buffering=1) for name in ("out", "err"))
                os.chdir(folder)
                code = function(*values, **options)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)

    def ended(self) -> bool:
        """Whether it is over."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait for a condition, which must come before the end."""
        while not reached():
            assert not self.ended(), (self.told / "err").read_text()
            time.sleep(0.005)

    def end(self, number: int | None = None) -> tuple[int | None, str, str]:
        """Send a signal, if one is given, and wait: exit code and what was printed."""
        if number is not None and not self.ended():
            os.kill(self.pid, number)
        while not self.ended():
            time.sleep(0.01)
        return self.code, (self.told / "out").read_text(), (self.told / "err").read_text()


def start(results: Path, *arguments: str, **faults) -> Child:
    """The command line at work on small cells."""
    return Child(results.parent, command_line, [*arguments, *SMALL, f"results={results}"], **faults)


figures: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def told(request) -> Iterator[None]:
    """Print what was injected and what was lost."""
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\nfaults injected and losses:")
        for name, count in figures.items():
            print(f"  {count:4}  {name}")


@pytest.fixture
def results(tmp_path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def long(seed: int = 0) -> tuple[str, ...]:
    return (f"protocol.updates={UPDATES}", f"seed={seed}")


def key_of(*arguments: str) -> str:
    return run_key(compose_config([*SMALL, *arguments]))


def folder_of(results: Path, seed: int = 0) -> Path:
    return results / "runs" / key_of(*long(seed))


def newest(folder: Path) -> int:
    """Updates of the newest checkpoint, 0 without one."""
    return max((int(path.stem[-9:]) for path in folder.glob("checkpoint-*.pt")), default=0)


def state_of(folder: Path) -> str:
    return json.loads((folder / "status.json").read_text())["state"]


def outcome(results: Path) -> dict:
    """All that must not depend on faults."""
    (path,) = (results / "records").glob("*.json")
    record = Record.from_json(path.read_text())
    (computed,) = set((results / "computed").read_text().splitlines())
    scores = (record.accuracy, record.nll, record.val_accuracy)
    return {"weights": computed, "scores": scores, "metrics": (folder_of(results) / "metrics.csv").read_bytes()}


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "checkpoint" in path.name)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> dict:
    """The outcome of a run that nothing happened to."""
    results = tmp_path_factory.mktemp("unbroken") / "results"
    results.mkdir()
    assert start(results, *long()).end()[0] == 0
    return outcome(results)


def same(results: Path, unbroken: dict) -> None:
    found = outcome(results)
    figures["runs that differ from the unbroken one"] += found != unbroken
    assert found == unbroken
    assert leftovers(folder_of(results)) == []


# Kills -------------------------------------------------------------------------------------------------------------


def test_ten_kills_change_no_bit(results, unbroken):
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
    figures["kill -9 of a training run"] += kills
    same(results, unbroken)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_a_run_which_then_goes_on(results, unbroken, number, expected):
    run, folder = start(results, *long()), folder_of(results)
    run.until(lambda: newest(folder) >= 20)
    code, out, err = run.end(number)
    assert (code, out) == (expected, "")
    assert err == f"stopped by {signal.Signals(number).name}; the same command goes on from there\n"
    assert state_of(folder) == "interrupted"
    saved = newest(folder)
    assert 20 <= saved < UPDATES
    assert start(results, *long()).end()[0] == 0
    assert state_of(folder) == "done"
    figures[f"{signal.Signals(number).name} to a run"] += 1
    same(results, unbroken)


@pytest.mark.parametrize("during", ["training", "evaluation"])
def test_a_signal_ends_the_whole_sweep(results, during):
    sweep = ("-m", f"protocol.updates={UPDATES}", "seed=0,1")
    folder = folder_of(results)
    run = start(results, *sweep, evaluation=2 * (during == "evaluation"))
    run.until((results / "computed").exists if during == "evaluation" else lambda: newest(folder) >= 20)
    code, _, err = run.end(signal.SIGTERM)
    figures["SIGTERM to a sweep"] += 1
    assert code == 143, err
    assert not folder_of(results, seed=1).exists()
    assert len(list(results.glob("records/*.json"))) == (1 if during == "evaluation" else 0)
    code, out, _ = start(results, *sweep).end()
    assert code == 0
    assert out.splitlines()[-1].startswith("1 done, 0 failed, 1 skipped" if during == "evaluation" else "2 done")


# Disks -------------------------------------------------------------------------------------------------------------


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
    figures["full disk while saving"] += 1
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
    assert "goes on after update 50" in log
    figures["flipped byte in a checkpoint"] += 1
    same(results, unbroken)


# Several processes -------------------------------------------------------------------------------------------------


def test_no_record_of_eight_killed_writers_is_lost_double_or_torn(results, tmp_path):
    fields = dict.fromkeys(Record.__dataclass_fields__, "x")
    numbers = dict.fromkeys(("rate", "accuracy", "nll", "val_accuracy", "seconds"), 0.5)
    counts = dict.fromkeys(("seed", "train_images", "test_images", "schema"), 1)
    template = Record(**{**fields, **numbers, **counts, "config": {"long": "x" * 20_000}, "environment": {}})

    def writing(writer: int) -> Child:
        return Child(tmp_path, write_records, results, writer, template)

    rng, kills = random.Random(), 0
    writers = {writer: writing(writer) for writer in range(8)}
    while kills < 30:
        time.sleep(rng.uniform(0, 0.1))
        writer = rng.randrange(8)
        kills += writers[writer].end(signal.SIGKILL)[0] == -signal.SIGKILL
        writers[writer] = writing(writer)
    assert [child.end()[0] for child in writers.values()] == [0] * 8
    records, damaged = RecordStore(results).read()
    found = Counter(record.key for record in records)
    taken = {key for path in results.glob("taken*") for key in path.read_text().splitlines()}
    expected = {f"common-{number}" for number in range(10)}
    expected |= {f"writer{writer}-{number}" for writer in range(8) for number in range(10, 50)}
    figures["kill -9 of a process that writes records"] += kills
    figures["records written by 8 processes"] += len(records)
    figures["records lost"] += len(taken - found.keys())
    figures["records double"] += sum(found.values()) - len(found)
    figures["records torn"] += len(damaged)
    assert found.keys() == taken == expected
    assert set(found.values()) == {1}
    assert damaged == []


def test_two_sweeps_at_once_share_the_cells(results):
    sweep = ("-m", "protocol.updates=30", "rate=0.15,0.3", "seed=0,1,2")
    runs = [start(results, *sweep) for _ in range(2)]
    ended = [run.end() for run in runs]
    assert [code for code, _, _ in ended] == [0, 0], ended
    done = [int(out.splitlines()[-1].split(" ")[0]) for _, out, _ in ended]
    assert sum(done) == 6
    computed = Counter(line.split(" ")[0] for line in (results / "computed").read_text().splitlines())
    assert len(computed) == 6
    figures["cells of two sweeps at once"] += len(computed)
    figures["cells computed twice"] += sum(computed.values()) - len(computed)
    assert set(computed.values()) == {1}
    with (results / "results.csv").open() as file:
        assert sorted(row["key"] for row in csv.DictReader(file)) == sorted(computed)
    assert len(list((results / "records").iterdir())) == 6


def test_a_run_that_diverges_says_where_and_the_sweep_goes_on(results):
    diverging, good = (("protocol.updates=10", f"protocol.lr={lr}") for lr in ("1e30", "0.03"))
    code, out, _ = start(results, "-m", "protocol.updates=10", "protocol.lr=1e30,0.03").end()
    assert code == 1
    assert out.splitlines()[-1].startswith("1 done, 1 failed, 0 skipped")
    failure = json.loads((results / "runs" / key_of(*diverging) / "failure.json").read_text())
    assert "is not finite at update 1 (learning rate 1e+30): ce=" in failure["reason"]
    assert [path.stem for path in (results / "records").iterdir()] == [key_of(*good)]
    figures["runs that diverge"] += 1
