"""Runs one configuration for the command line: skip what is finished, follow it, keep what happened."""

import json
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from cotune_bench.config import run_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.files import write_atomically
from cotune_bench.loggers import Logger, make_logger
from cotune_bench.model import keep, keeping, require_kept
from cotune_bench.records import Record, RecordStore
from cotune_bench.signals import InterruptedRun, StopRequest

log = logging.getLogger("cotune_bench")

DONE, SKIPPED, FAILED, ELSEWHERE = "done", "skipped", "failed", "running elsewhere"


@dataclass(frozen=True)
class Outcome:
    """What became of one cell, in one line."""

    key: str
    state: str
    line: str


def run(config: DictConfig, *, bar: bool = False) -> Outcome:
    """Train, evaluate and record one configuration, unless a record is there or another process is at it.

    A run that was killed goes on from its last checkpoint.

    Args:
        config: of one run, composed and checked.
        bar: show a progress bar on the terminal.

    Raises:
        UserError: the input is wrong; nothing was written.
        InterruptedRun: a signal stopped the run; it was saved, or even recorded.
        Exception: whatever went wrong in training, after a failure record was written.
    """
    key, store = run_key(config), RecordStore(Path(config.results))
    if store.finished(key) and not config.force:
        require_kept(config, key)
        return Outcome(key, SKIPPED, f"{key}: finished before, not run again (force=true does)")
    folder = store.results / "runs" / key
    status = Status(folder, key, config.protocol.updates)
    started, protocol = time.monotonic(), config.protocol
    logger = make_logger(
        config.logger, folder, batch_size=protocol.batch_size, backbone_ratio=protocol.backbone_ratio
    )
    with _end_kept(folder, config, status):
        from cotune_bench.checkpoint import Checkpoints  # torch takes seconds to import
        from cotune_bench.experiment import Experiment

        experiment = Experiment.build(config)
        kept = keeping(experiment)
        checkpoints = Checkpoints(folder, config.checkpoint_every)
        checkpoints.started = started
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / "lock", blocking=False), _log_file(folder / "run.log"), StopRequest() as stop:
                if store.finished(key) and not config.force:
                    return Outcome(key, SKIPPED, f"{key}: finished meanwhile by another process")
                OmegaConf.save(OmegaConf.create(run_config(config)), folder / "config.yaml")
                experiment.splits.write()
                with status, closing(logger), experiment.placed(lambda: _wait(status, stop)) as placed:
                    checkpoints.started += status.running()
                    with Follower(folder / "metrics.csv", status, logger, protocol.batch_size, bar=bar) as follower:
                        placed.train(follower, checkpoints, stop)
                    for name, text in placed.method.artifacts().items():
                        write_atomically(folder / name, text.encode())
                    record = placed.record(checkpoints.started)
                    logger.end(record, protocol.updates, getattr(placed.method, "relationship", None))
                    if kept:  # first: a run that is finished has its weights
                        keep(placed, record, folder)
                path = store.add(record, again=config.force)
                log.info(told(record, path))
                checkpoints.delete()
                status.write("done")
        except Timeout:
            return Outcome(key, ELSEWHERE, f"{key}: another process is running it")
    if stop.number:  # heard after the last update: the cell is done, but the sweep it belongs to is to end
        raise InterruptedRun(stop.number)
    return Outcome(key, DONE, told(record, path))


def _wait(status: "Status", stop: StopRequest) -> None:
    """Say once that a run waits for a GPU; a signal ends the wait."""
    if status.waiting():
        line = f"{status.key}: waits for a GPU slot; gpu_slots=N lets N runs share a GPU"
        log.info(line)
        print(line, file=sys.stderr, flush=True)
    if stop.number:
        raise InterruptedRun(stop.number)


def told(record: Record, path: Path) -> str:
    """The one line at the end of a run."""
    validation = "" if record.val_accuracy is None else f" (validation {record.val_accuracy:.2f} %)"
    return (
        f"{record.data} {record.method} rate {record.rate:g} seed {record.seed}: "
        f"{record.accuracy:.2f} %{validation} in {record.seconds:.1f} s -> {path}"
    )


class Status:
    """``status.json`` of a run: what it is doing, where, and when it was last heard of.

    Inside the context the run is running or waiting for a GPU, and heard of every few seconds, also while it prepares
    or evaluates.
    """

    HEARTBEAT = 5.0  # seconds between two writes

    def __init__(self, folder: Path, key: str, updates: int) -> None:
        self.path = folder / "status.json"
        self.key = key
        self.updates = updates
        self.begun = False
        self._started = datetime.now(UTC)
        self._done = 0
        self._first: tuple[int, float] | None = None  # updates done and clock at the first report, to tell the pace
        self.pace: float | None = None  # seconds for an update, once it can be told
        self._waits: float | None = None  # clock at the beginning of a wait
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Status":
        self.write("running", done=0)
        self.begun = True
        self._heart.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._heart.join()

    def _beat(self) -> None:
        while not self._ended.wait(self.HEARTBEAT):
            left = self.pace and round(self.pace * (self.updates - self._done), 1)
            with suppress(OSError):  # a full disk is told by what matters: checkpoints and the record
                self.write("running" if self._waits is None else "waiting", done=self._done, eta_s=left)

    def waiting(self) -> bool:
        """Note that the run waits for a GPU; True the first time."""
        if self._waits is not None:
            return False
        self._waits = time.monotonic()
        self.write("waiting", done=0)
        return True

    def running(self) -> float:
        """Note that a wait is over; gives its seconds, 0 without one."""
        if self._waits is None:
            return 0.0
        waited, self._waits = time.monotonic() - self._waits, None
        self.write("running", done=0)
        return waited

    def report(self, done: int) -> None:
        """Note that so many updates are done."""
        now = time.monotonic()
        self._first = self._first or (done, now)
        self._done = done
        if done > self._first[0]:
            self.pace = (now - self._first[1]) / (done - self._first[0])

    def write(self, state: str, **more: object) -> None:
        """Note a state: running, waiting, interrupted, failed or done."""
        status = {
            "key": self.key,
            "state": state,
            "updates": self.updates,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": self._started.isoformat(timespec="seconds"),
            "heard": datetime.now(UTC).isoformat(timespec="seconds"),
            **more,
        }
        write_atomically(self.path, (json.dumps(status, indent=1) + "\n").encode())


class Follower:
    """Writes ``metrics.csv`` while a run trains, tells its logger, notes its status and moves its progress bar.

    A run that goes on from a checkpoint rewrites the rows after it.
    """

    def __init__(self, path: Path, status: Status, logger: Logger, batch_size: int, *, bar: bool) -> None:
        self._path = path
        self._status = status
        self._logger = logger
        self._batch_size = batch_size
        self._rows: list[str] | None = None
        self._bar = _progress_bar() if bar else None

    def __enter__(self) -> "Follower":
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task(self._status.key, total=self._status.updates, terms="", speed="")
        return self

    def __call__(self, updates: int, lr: float, terms: dict[str, float]) -> None:
        """Report of the engine: updates done, learning rate of the head, mean of every term since last time."""
        if self._rows is None:
            self._rows = self._kept(updates) or [",".join(["updates", "lr", *terms, "loss"])]
            write_atomically(self._path, ("\n".join(self._rows) + "\n").encode())
        row = [updates, lr, *terms.values(), sum(terms.values())]
        with self._path.open("a", encoding="utf-8") as file:
            file.write(",".join(f"{value:.8g}" for value in row) + "\n")
        self._logger.report(updates, lr, terms)
        self._status.report(updates)
        if self._bar:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
            speed = f"{self._batch_size / self._status.pace:,.0f} images/s" if self._status.pace else ""
            self._bar.update(self._task, completed=updates, terms=shown, speed=speed)

    def _kept(self, updates: int) -> list[str]:
        """Header and rows before this number of updates, of an earlier part of the same run."""
        if not self._path.exists():
            return []
        whole = self._path.read_text(encoding="utf-8").rpartition("\n")[0]  # a last line without an end is torn
        header, *rows = whole.splitlines() or [""]
        kept = [row for row in rows if row.partition(",")[0].isdigit() and int(row.partition(",")[0]) < updates]
        return [header, *kept] if kept else []

    def __exit__(self, *_error: object) -> None:
        if self._bar:
            self._bar.stop()


def _progress_bar():
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    texts = (TextColumn("{task.fields[speed]}"), TextColumn("{task.fields[terms]}"))
    return Progress(*columns, *texts, console=Console(stderr=True), transient=True)


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, mode="a", encoding="utf-8")  # a resumed run goes on writing
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    except BaseException as error:
        log.error("%s: %s", type(error).__name__, error)
        raise
    finally:
        log.removeHandler(handler)
        handler.close()


@contextmanager
def _end_kept(folder: Path, config: DictConfig, status: Status) -> Iterator[None]:
    """Keeps how the block ended: ``failure.json`` if it raised, until a later success; bad input leaves nothing."""
    path = folder / "failure.json"
    alone = FileLock(folder / "lock", blocking=False)  # who is at the cell by now tells of it
    try:
        yield
    except UserError as error:
        if status.begun:
            with suppress(Timeout), alone:
                status.write("failed", reason=str(error))
        raise
    except InterruptedRun:
        with suppress(Timeout), alone:
            status.write("interrupted")
        raise
    except Exception as error:
        failure = {
            "key": run_key(config),
            "reason": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
            "failed": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "host": socket.gethostname(),
            "config": run_config(config),
        }
        with suppress(Timeout), alone:
            write_atomically(path, (json.dumps(failure, indent=1) + "\n").encode())
            status.write("failed", reason=failure["reason"])
        raise
    path.unlink(missing_ok=True)
