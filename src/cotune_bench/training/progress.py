"""Live progress of a run: status.json, metrics.csv, run.log, a tracker and a progress bar."""

import html
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from cotune_bench.config import run_config
from cotune_bench.config.changed import leaves
from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.run_state import how_far, time_left
from cotune_bench.storage.slurm import job_id
from cotune_bench.training.loggers import LOGGERS

log = logging.getLogger("cotune_bench.training.progress")

#: Called with the number of updates done, the learning rate of the head and the mean of every term since last time;
#: of penalties on weights alone, their present value.
Report = Callable[[int, float, dict[str, float]], None]

HEARTBEAT = 5.0  # seconds between two writes of status.json
LINE = 60.0  # seconds between two lines of run.log and, without a terminal, of standard output


def progress_bar(*, shown: bool) -> Progress:
    """A line of name, bar, count, time left and loss terms for each task, on terminals from 60 columns on."""
    name = Column(ratio=3, no_wrap=True, overflow="ellipsis")
    terms = Column(ratio=2, no_wrap=True, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(10, table_column=Column(width=10)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[shown]}", markup=False, table_column=terms),
        console=Console(stderr=True),
        transient=True,
        expand=True,
        refresh_per_second=2,
        redirect_stdout=sys.stdout.isatty(),  # else what is printed would go to the terminal, not to its file
        disable=not shown,
    )


def _notebook_bar(name: str, total: int) -> Report:
    """A bar in the output of a notebook's cell, which needs no widgets."""
    from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

    def bar(done: int, terms: str = "") -> HTML:
        left = time_left(time.monotonic() - started, done, total - done)
        line = f"{name} {how_far(done, total, 'updates', left)} {terms}"
        return HTML(f'<progress value="{done}" max="{total}"></progress> {html.escape(line)}')

    started = time.monotonic()
    handle: Any = display(bar(0), display_id=True)
    return lambda updates, lr, terms: handle.update(bar(updates, shown_terms(terms)))


@contextmanager
def shown_bar(name: str, total: int) -> Iterator[Report]:
    """A bar in a notebook or on a terminal, nothing elsewhere: called with the engine's reports."""
    if Console().is_jupyter:
        yield _notebook_bar(name, total)
        return
    with progress_bar(shown=sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=total, shown="")
        yield lambda updates, lr, terms: bar.update(task, completed=updates, shown=shown_terms(terms))


def shown_terms(terms: dict[str, float]) -> str:
    """Loss terms for a line."""
    return " ".join(f"{name} {value:.3f}" for name, value in terms.items())


class RunProgress:
    """Takes the engine's reports, and says in ``status.json`` how the run stands.

    Inside the context the run is running, with a heartbeat every few seconds, also while it prepares or evaluates.
    A run that resumes from a checkpoint rewrites the rows of ``metrics.csv`` after it.

    With ``shown``, a terminal has a progress bar, and other outputs get a line a minute.
    """

    def __init__(self, folder: Path, key: str, config: DictConfig, *, shown: bool) -> None:
        self.folder, self.key = folder, key
        self.updates, self.batch_size = config.protocol.updates, config.protocol.batch_size
        self.logger = LOGGERS[config.logger](folder, key, dict(leaves(run_config(config))))
        self.begun = False
        self._started = datetime.now(UTC)
        self._done = 0
        self._pace: float | None = None  # seconds for an update, from the second report on
        self._first: tuple[int, float] | None = None  # updates done and clock at the first report
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._terms = ""
        self._printed = shown and not sys.stderr.isatty()
        self._bar = progress_bar(shown=shown and sys.stderr.isatty())

    def __enter__(self) -> "RunProgress":
        self.write("running", done=0)
        self.begun = True
        log.info("begins on %s, pid %d: %d updates", socket.gethostname(), os.getpid(), self.updates)
        self._heart.start()
        self._bar.start()
        self._task = self._bar.add_task(self.key, total=self.updates, shown="")
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()
        self.logger.close()
        self._ended.set()
        self._heart.join()

    def _beat(self) -> None:
        said = time.monotonic()
        while not self._ended.wait(HEARTBEAT):
            left = self._pace and round(self._pace * (self.updates - self._done), 1)
            with suppress(OSError):  # checkpoints and the record report a full disk
                self.write("running", done=self._done, eta_s=left)
            if time.monotonic() - said >= LINE:
                said = time.monotonic()
                line = how_far(self._done, self.updates, "updates", left) + (self._terms and f": {self._terms}")
                log.info(line)
                if self._printed:
                    print(f"{self.key} {line}", flush=True)

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
        self.logger.report(updates, lr, terms)
        self._terms = shown_terms(terms)
        speed = f"  {self.batch_size / self._pace:,.0f} images/s" if self._pace else ""
        self._bar.update(self._task, completed=updates, shown=self._terms + speed)


def _kept(path: Path, updates: int) -> list[str]:
    """Header and rows of metrics.csv before this number of updates, of an earlier part of the same run."""
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]  # a last line without an end is torn
    header, *rows = whole.splitlines() or [""]
    kept = [row for row in rows if row.partition(",")[0].isdigit() and int(row.partition(",")[0]) < updates]
    return [header, *kept] if kept else []
