"""Live progress of a run: status.json, metrics.csv and a progress bar."""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cotune_bench.storage.files import write_atomically
from cotune_bench.training.loggers import Logger


class Status:
    """``status.json`` of a run: its state, host and process, progress, and the time of the last heartbeat.

    Inside the context the run is running, with a heartbeat every few seconds, also while it prepares or evaluates.
    """

    HEARTBEAT = 5.0  # seconds between two writes

    def __init__(self, folder: Path, key: str, updates: int) -> None:
        self.path = folder / "status.json"
        self.key = key
        self.updates = updates
        self.begun = False
        self.pace: float | None = None  # seconds for an update, from the second report on
        self._started = datetime.now(UTC)
        self._done = 0
        self._first: tuple[int, float] | None = None  # updates done and clock at the first report
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
            with suppress(OSError):  # checkpoints and the record report a full disk
                self.write("running", done=self._done, eta_s=left)

    def report(self, done: int) -> None:
        """Note that so many updates are done."""
        now = time.monotonic()
        self._first = self._first or (done, now)
        self._done = done
        if done > self._first[0]:
            self.pace = (now - self._first[1]) / (done - self._first[0])

    def write(self, state: str, **more: object) -> None:
        """Note a state: running, interrupted, failed or done."""
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
    """Passes the engine's reports on to ``metrics.csv``, logger, status and progress bar.

    A run that resumes from a checkpoint rewrites the rows after it.
    """

    def __init__(self, path: Path, status: Status, logger: Logger, batch_size: int, *, bar: bool) -> None:
        self._path = path
        self._status = status
        self._logger = logger
        self._batch_size = batch_size
        self._begun = False
        self._bar = _progress_bar() if bar else None

    def __enter__(self) -> "Follower":
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task(self._status.key, total=self._status.updates, shown="")
        return self

    def __call__(self, updates: int, lr: float, terms: dict[str, float]) -> None:
        """Report of the engine: updates done, learning rate of the head, mean of every term since last time."""
        if not self._begun:
            self._begun = True
            rows = self._kept(updates) or [",".join(["updates", "lr", *terms, "loss"])]
            write_atomically(self._path, ("\n".join(rows) + "\n").encode())
        row = [updates, lr, *terms.values(), sum(terms.values())]
        with self._path.open("a", encoding="utf-8") as file:
            file.write(",".join(f"{value:.8g}" for value in row) + "\n")
        self._logger.report(updates, lr, terms)
        self._status.report(updates)
        if self._bar:
            shown = [f"{name} {value:.3f}" for name, value in terms.items()]
            if self._status.pace:
                shown.insert(0, f"{self._batch_size / self._status.pace:,.0f} images/s")
            self._bar.update(self._task, completed=updates, shown="  ".join(shown))

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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[shown]}"), console=Console(stderr=True), transient=True)
