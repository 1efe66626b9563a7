"""Mirrors of a run for those who watch it: ``metrics.csv`` and the record stay the truth, and need none of this."""

import importlib.util
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cotune_bench.errors import UserError
from cotune_bench.storage.records import Record

log = logging.getLogger("cotune_bench.training.loggers")

LOGGERS = ("none", "tensorboard")


def require_logger(name: str) -> None:
    """Raise UserError if this logger is unknown or not installed."""
    if name not in LOGGERS:
        raise UserError(f"logger={name} is unknown: choose {', '.join(LOGGERS)}")
    if name == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise UserError("logger=tensorboard needs a package: pip install -e '.[tensorboard]'")


def make_logger(name: str, folder: Path, *, batch_size: int, backbone_ratio: float) -> "Logger":
    """The logger of a run; ``folder`` is the run's."""
    require_logger(name)
    if name == "none":
        return Logger()
    return TensorBoard(folder / "tensorboard", batch_size=batch_size, backbone_ratio=backbone_ratio)


class Logger:
    """Told of a run as it goes on; logs nothing."""

    def report(self, updates: int, lr: float, terms: dict[str, float]) -> None:
        """The engine's report: updates done, learning rate of the head, means of the terms since last time."""

    def end(self, record: Record, updates: int) -> None:
        """Scores of the finished run."""

    def close(self) -> None:
        """Let go of files and threads, however the run ended."""


class TensorBoard(Logger):
    """Terms, learning rates, speed and scores as TensorBoard events.

    A run that goes on from a checkpoint takes back the steps after it. Whatever goes wrong is told once; then nothing
    more is logged, and the run goes on.
    """

    def __init__(self, folder: Path, *, batch_size: int, backbone_ratio: float) -> None:
        self.folder = folder
        self._batch_size = batch_size
        self._backbone_ratio = backbone_ratio
        self._writer: Any = None
        self._last: tuple[int, float] | None = None  # updates and clock of the report before
        self._broken = False

    def report(self, updates: int, lr: float, terms: dict[str, float]) -> None:
        """Terms, their sum, learning rates and, from the second report on, images per second."""
        now, last = time.monotonic(), self._last
        self._last = (updates, now)
        values = {f"loss/{name}": value for name, value in terms.items()}
        values |= {"loss/sum": sum(terms.values()), "lr/head": lr, "lr/backbone": lr * self._backbone_ratio}
        if last and now > last[1]:
            values["images_per_second"] = self._batch_size * (updates - last[0]) / (now - last[1])
        self._try(lambda: self._write(updates, values))

    def end(self, record: Record, updates: int) -> None:
        """Scores of validation and test."""
        values = {
            "accuracy/validation": record.val_accuracy,
            "accuracy/test": record.accuracy,
            "nll/test": record.nll,
        }
        self._try(lambda: self._write(updates, {name: value for name, value in values.items() if value is not None}))

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._writer:
            self._try(self._writer.close)

    def _write(self, updates: int, values: dict[str, float]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=updates)
        for name, value in values.items():
            self._writer.add_scalar(name, value, updates)
        self._writer.flush()

    def _try(self, action: Callable[[], object]) -> None:
        if self._broken:
            return
        try:
            action()
        except Exception as error:
            self._broken = True
            line = f"logger=tensorboard failed and is left out from here on: {type(error).__name__}: {error}"
            log.warning(line)
            print(f"warning: {line}", file=sys.stderr, flush=True)
