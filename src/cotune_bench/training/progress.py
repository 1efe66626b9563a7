"""Live progress of a run: status.json, metrics.csv, a TensorBoard mirror and a progress bar."""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.slurm import job_id
from cotune_bench.training.loggers import TensorBoard

HEARTBEAT = 5.0  # seconds between two writes of status.json


class RunProgress:
    """Takes the engine's reports, and says in ``status.json`` how the run stands.

    Inside the context the run is running, with a heartbeat every few seconds, also while it prepares or evaluates.
    A run that resumes from a checkpoint rewrites the rows of ``metrics.csv`` after it.

    Args:
        folder: of the run.
        key: of the run.
        config: of the run.
        bar: show a progress bar on the terminal.
    """

    def __init__(self, folder: Path, key: str, config: DictConfig, *, bar: bool) -> None:
        self.folder, self.key = folder, key
        self.updates, self.batch_size = config.protocol.updates, config.protocol.batch_size
        self.logger = TensorBoard(folder / "tensorboard") if config.logger == "tensorboard" else None
        self.begun = False
        self._started = datetime.now(UTC)
        self._done = 0
        self._pace: float | None = None  # seconds for an update, from the second report on
        self._first: tuple[int, float] | None = None  # updates done and clock at the first report
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        shown = TextColumn("{task.fields[shown]}")
        self._bar = Progress(*columns, shown, console=Console(stderr=True), transient=True, disable=not bar)

    def __enter__(self) -> "RunProgress":
        self.write("running", done=0)
        self.begun = True
        self._heart.start()
        self._bar.start()
        self._task = self._bar.add_task(self.key, total=self.updates, shown="")
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()
        if self.logger:
            self.logger.close()
        self._ended.set()
        self._heart.join()

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            left = self._pace and round(self._pace * (self.updates - self._done), 1)
            with suppress(OSError):  # checkpoints and the record report a full disk
                self.write("running", done=self._done, eta_s=left)

    def write(self, state: str, **more: object) -> None:
        """Note a state: running, interrupted, failed or done."""
        status = {
            "key": self.key,
            "state": state,
            "updates": self.updates,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            **({"slurm_job": job} if (job := job_id()) else {}),
            "started": self._started.isoformat(timespec="seconds"),
            "heard": datetime.now(UTC).isoformat(timespec="seconds"),
            **more,
        }
        write_atomically(self.folder / "status.json", (json.dumps(status, indent=1) + "\n").encode())

    def __call__(self, updates: int, lr: float, terms: dict[str, float]) -> None:
        """Report of the engine: updates done, learning rate of the head, mean of every term since last time."""
        now, path = time.monotonic(), self.folder / "metrics.csv"
        if self._first is None:
            self._first = updates, now
            rows = _kept(path, updates) or [",".join(["updates", "lr", *terms, "loss"])]
            write_atomically(path, ("\n".join(rows) + "\n").encode())
        else:
            self._pace = (now - self._first[1]) / (updates - self._first[0])
        self._done = updates
        with path.open("a", encoding="utf-8") as file:
            row = [updates, lr, *terms.values(), sum(terms.values())]
            file.write(",".join(f"{value:.8g}" for value in row) + "\n")
        if self.logger:
            self.logger.report(updates, lr, terms)
        speed = [f"{self.batch_size / self._pace:,.0f} images/s"] if self._pace else []
        shown = "  ".join([*speed, *(f"{name} {value:.3f}" for name, value in terms.items())])
        self._bar.update(self._task, completed=updates, shown=shown)


def _kept(path: Path, updates: int) -> list[str]:
    """Header and rows of metrics.csv before this number of updates, of an earlier part of the same run."""
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]  # a last line without an end is torn
    header, *rows = whole.splitlines() or [""]
    kept = [row for row in rows if row.partition(",")[0].isdigit() and int(row.partition(",")[0]) < updates]
    return [header, *kept] if kept else []
