"""Live progress of a sweep: each outcome's line, the running cells, how many are done and the time left."""

import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.progress import TaskID

from cotune_bench.storage.escape import plain
from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.run_state import duration, gone, how_far, read_status, share_done, time_left
from cotune_bench.training.progress import LINE, progress_bar
from cotune_bench.training.runner import FAILED, SKIPPED, Outcome
from cotune_bench.training.sweeps import begun, outcome_at

SWEEPS, ABOUT = ".sweeps", "sweep.json"


class SweepWatch:
    """Reads the files that the cells of a sweep write, wherever they run, in a thread.

    On a terminal it shows a line for each running cell and one for the sweep, else a line a minute.

    Args:
        folder: of the sweep, which is made here and removed at the end.
        labels: for each cell the settings in which it differs from the others.
    """

    def __init__(self, folder: Path, results: Path, labels: Sequence[str]) -> None:
        self.folder, self.results, self.labels = folder, results, labels
        self._outcomes: dict[int, Outcome] = {}
        self._started = self._said = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._bar = progress_bar(shown=sys.stderr.isatty())
        self._tasks: dict[int, TaskID] = {}

    def __enter__(self) -> "SweepWatch":
        about = {
            "cells": len(self.labels),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_atomically(self.folder / ABOUT, json.dumps(about).encode())
        self._bar.start()
        self._whole = self._bar.add_task("cells", total=len(self.labels), shown="")
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            self._print_outcomes()
        self._bar.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _follow(self) -> None:
        while not self._ended.wait(0.5):
            with suppress(OSError):  # a network folder may be away for a moment
                self._print_outcomes()
                self._show()

    def _print_outcomes(self) -> None:
        for number in range(len(self.labels)):
            if number not in self._outcomes and (outcome := outcome_at(self.folder, number)):
                self._outcomes[number] = outcome
                if outcome.state != SKIPPED:  # the summary counts them
                    target = sys.stderr if outcome.state == FAILED else sys.stdout
                    print(plain(outcome.line), file=target, flush=True)

    def _show(self) -> None:
        running = {number: key for number, key in begun(self.folder).items() if number not in self._outcomes}
        states = {number: read_status(self.results / "runs" / key / "status.json") for number, key in running.items()}
        shares = sum(map(share_done, states.values()))
        skipped = sum(outcome.state == SKIPPED for outcome in self._outcomes.values())
        ended, cells = len(self._outcomes), len(self.labels)
        left = time_left(time.monotonic() - self._started, ended - skipped + shares, cells - ended - shares)
        for number in self._tasks.keys() - running.keys():
            self._bar.remove_task(self._tasks.pop(number))
        for number, state in states.items():
            if number not in self._tasks:
                self._tasks[number] = self._bar.add_task(self.labels[number], total=None, shown="")
            state = state or {}
            self._bar.update(self._tasks[number], completed=state.get("done", 0), total=state.get("updates"))
        shown = "" if left is None else f"about {duration(left)} left"
        self._bar.update(self._whole, completed=ended, shown=shown)
        if self._bar.disable and time.monotonic() - self._said >= LINE:
            self._said = time.monotonic()
            now = [f"{self.labels[number]} {100 * share_done(state):.0f} %" for number, state in states.items()]
            line = how_far(ended, cells, "cells", left)
            print(plain(f"{line}; running: {', '.join(now)}" if now else line), flush=True)


def clear_dead(results: Path) -> None:
    """Remove what sweeps of this machine whose process was killed left behind."""
    for path in results.glob(f"{SWEEPS}/*/{ABOUT}"):
        if gone(read_status(path) or {}):
            shutil.rmtree(path.parent, ignore_errors=True)
