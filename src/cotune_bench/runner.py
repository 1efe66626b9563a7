"""Runs one configuration for the command line: skip what is finished, follow it, keep what happened."""

import json
import logging
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from cotune_bench.config import run_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.files import write_atomically
from cotune_bench.records import Record, RecordStore

log = logging.getLogger("cotune_bench")

DONE, SKIPPED, FAILED, ELSEWHERE = "done", "skipped", "failed", "running elsewhere"


@dataclass(frozen=True)
class Outcome:
    """What became of one cell, in one line."""

    key: str
    state: str
    line: str


def run(config: DictConfig, *, bar: bool = False) -> Outcome:
    """Train, evaluate and record one configuration, unless a record is there already or another process is at it.

    Args:
        config: of one run, composed and checked.
        bar: show a progress bar on the terminal.

    Raises:
        UserError: the input is wrong; nothing was written.
        Exception: whatever went wrong in training, after a failure record was written.
    """
    key, store = run_key(config), RecordStore(Path(config.results))
    if store.path(key).exists() and not config.force:
        return Outcome(key, SKIPPED, f"{key}: finished before, not run again (force=true does)")
    from cotune_bench.experiment import Experiment  # torch takes seconds to import

    started = time.monotonic()
    experiment = Experiment.build(config)
    folder = Path(config.results) / "runs" / key
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", blocking=False):
            if store.path(key).exists() and not config.force:
                return Outcome(key, SKIPPED, f"{key}: finished meanwhile by another process")
            with _log_file(folder / "run.log"), _failure_record(folder, config):
                OmegaConf.save(OmegaConf.create(run_config(config)), folder / "config.yaml")
                with Follower(folder / "metrics.csv", key, experiment.protocol.updates, bar=bar) as follower:
                    experiment.train(follower)
                record = experiment.record(started)
                path = store.add(record, again=config.force)
                line = told(record, path)
                log.info(line)
    except Timeout:
        return Outcome(key, ELSEWHERE, f"{key}: another process is running it")
    return Outcome(key, DONE, line)


def told(record: Record, path: Path) -> str:
    """The one line at the end of a run."""
    validation = "" if record.val_accuracy is None else f" (validation {record.val_accuracy:.2f} %)"
    return (
        f"{record.data} {record.method} rate {record.rate:g} seed {record.seed}: "
        f"{record.accuracy:.2f} %{validation} in {record.seconds:.1f} s -> {path}"
    )


class Follower:
    """Writes ``metrics.csv`` while a run trains and moves its progress bar."""

    def __init__(self, path: Path, title: str, updates: int, *, bar: bool) -> None:
        self._path = path
        self._title = title
        self._updates = updates
        self._bar = _progress_bar() if bar else None

    def __enter__(self) -> "Follower":
        self._file = self._path.open("w", encoding="utf-8")
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._updates, terms="")
        return self

    def __call__(self, updates: int, lr: float, terms: dict[str, float]) -> None:
        """Report of the engine: updates done, learning rate of the head, mean of every term since last time."""
        if self._file.tell() == 0:
            self._file.write(",".join(["updates", "lr", *terms, "loss"]) + "\n")
        row = [updates, lr, *terms.values(), sum(terms.values())]
        self._file.write(",".join(f"{value:.8g}" for value in row) + "\n")
        self._file.flush()
        if self._bar:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
            self._bar.update(self._task, completed=updates, terms=shown)

    def __exit__(self, *_error: object) -> None:
        self._file.close()
        if self._bar:
            self._bar.stop()


def _progress_bar():
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[terms]}"), console=Console(stderr=True), transient=True)


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


@contextmanager
def _failure_record(folder: Path, config: DictConfig) -> Iterator[None]:
    """Keeps ``failure.json`` beside the run's log if the block raises; a later success takes it away."""
    path = folder / "failure.json"
    try:
        yield
    except Exception as error:
        log.error("%s: %s", type(error).__name__, error)
        failure = {
            "key": run_key(config),
            "reason": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
            "failed": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "host": socket.gethostname(),
            "config": run_config(config),
        }
        write_atomically(path, (json.dumps(failure, indent=1) + "\n").encode())
        raise
    path.unlink(missing_ok=True)


# Sweeps: jobs may run in other processes or on other machines; their outcomes travel through a file.


def sweep_job(config: DictConfig, outcomes: Path) -> None:
    """One cell of a sweep: whatever happens to it is written down, and the sweep goes on."""
    key = run_key(config)
    try:
        outcome = run(config)
    except UserError as error:
        outcome = Outcome(key, FAILED, f"{key}: {error}")
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else ""
        where = Path(config.results) / "runs" / key / "failure.json"
        outcome = Outcome(key, FAILED, f"{key} failed: {type(error).__name__}: {first} -> {where}")
    print(outcome.line, file=sys.stderr if outcome.state == FAILED else sys.stdout, flush=True)
    with outcomes.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")


def read_outcomes(path: Path) -> list[Outcome]:
    """Outcomes of a sweep's jobs, in the order they ended."""
    if not path.exists():
        return []
    return [Outcome(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
