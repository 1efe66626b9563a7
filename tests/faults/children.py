"""Processes of their own that faults are injected into, and what is looked at afterwards."""

import hashlib
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from cotune_bench import cli
from cotune_bench.cli import run
from cotune_bench.config import compose_config, run_key
from cotune_bench.storage.records import Record
from cotune_bench.training import engine, sweeps
from cotune_bench.training.checkpoint import Checkpoints
from cotune_bench.training.experiment import Experiment

#: ``pytestmark`` of every file of this group.
FAULTS = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")]

UPDATES = 120
SMALL = ("method=finetune", "backbone.weights=random", "device=cpu", "checkpoint_every=5")


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
    save = Checkpoints.save

    def limited(self, updates, state):
        if updates == full_at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))
        return save(self, updates, state)

    os.fsync = lambda _file: time.sleep(0.01)  # for a kill, unlike a power cut, only the pause matters
    engine._mix = slowly(engine._mix, 0.01)
    Checkpoints.save = limited
    note_weights(evaluation)
    return cli.main(arguments)


def note_weights(evaluation: float = 0) -> None:
    """Let every run of this process note the hash of its weights in ``computed``, then evaluate so much slower."""
    record = Experiment.record

    def noted(self, started):
        mark = hashlib.sha256()
        for name, value in self.method.state_dict().items():
            mark.update(name.encode() + value.numpy().tobytes())
        with open(Path(self.config.results) / "computed", "a") as file:
            file.write(f"{self.key} {mark.hexdigest()}\n")
        time.sleep(evaluation)
        return record(self, started)

    Experiment.record = noted


class Child:
    """A process of its own, forked because importing torch takes longer than these runs."""

    def __init__(self, folder: Path, function: Callable[..., int], *values, **options) -> None:
        self.told = Path(tempfile.mkdtemp(dir=folder))
        self.code: int | None = None
        for name in ("out", "err"):
            (self.told / name).touch()  # a kill may come before the child opens them
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
    return Child(results.parent, command_line, [*arguments, *_small(arguments), f"results={results}"], **faults)


def _small(arguments: tuple[str, ...]) -> list[str]:
    """SMALL without what the arguments set otherwise."""
    given = {one.partition("=")[0] for one in arguments}
    return [one for one in SMALL if one.partition("=")[0] not in given]


def launcher_line(arguments: list[str], hold: Path) -> int:
    """The command line in a child process; the processes that it starts import ``held``."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(cli.__file__).parents[2])])
    os.environ["HOLD"] = str(hold)
    from faults import held  # noqa: PLC0415  # it imports this module

    run._job = held.job
    sweeps.PRELOAD.append("faults.held")
    return cli.main(arguments)


def launch(results: Path, *arguments: str) -> Child:
    """A sweep at work on small cells, by a launcher."""
    return Child(results.parent, launcher_line, ["-m", *arguments, *SMALL, f"results={results}"], results / "hold")


def long(seed: int = 0) -> tuple[str, ...]:
    return (f"protocol.updates={UPDATES}", f"seed={seed}")


def key_of(*arguments: str) -> str:
    return run_key(compose_config([*_small(arguments), *arguments]))


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


def held(results: Path) -> Path:
    """A file while which is there no run ends soon."""
    path = results / "hold"
    path.touch()
    return path


def status(results: Path, seed: int) -> dict:
    try:
        return json.loads((folder_of(results, seed) / "status.json").read_text())
    except FileNotFoundError:
        return {}


def outcomes(results: Path) -> dict[int, dict]:
    """For each seed all that must not depend on launchers and faults."""
    computed = [line.split(" ") for line in (results / "computed").read_text().splitlines()]
    assert len(computed) == len({key for key, _ in computed}), "a cell was computed twice"
    weights = dict(computed)
    found = {}
    for path in (results / "records").glob("*.json"):
        record = Record.from_json(path.read_text())
        found[record.seed] = {
            "weights": weights[record.key],
            "scores": (record.accuracy, record.nll, record.val_accuracy),
            "metrics": (folder_of(results, record.seed) / "metrics.csv").read_bytes(),
            "threads": record.environment["threads"],
        }
    return found


def cells(seeds: str) -> tuple[str, ...]:
    return (long()[0], f"seed={seeds}")


def same(results: Path, basic: dict[int, dict], seeds: int) -> None:
    found = outcomes(results)
    assert found.keys() == set(range(seeds))
    assert found == {seed: basic[seed] for seed in found}


def at_work(results: Path, run: Child, *seeds: int) -> None:
    run.until(lambda: all(newest(folder_of(results, seed)) for seed in seeds))
