"""Optional mirror of a run; ``metrics.csv`` and the record do not depend on it."""

import importlib.util
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from cotune_bench.errors import UserError
from cotune_bench.storage.records import Record

log = logging.getLogger("cotune_bench.training.loggers")


def require_logger(name: str) -> None:
    """Raise UserError if this logger is not installed."""
    if name == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise UserError("logger=tensorboard needs a package: pip install -e '.[tensorboard]'")


class TensorBoard:
    """Loss terms, learning rate and scores as TensorBoard events.

    A run that resumes from a checkpoint removes the steps after it. The first error is shown as a warning and logging
    stops, while the run continues.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None
        self._broken = False

    def report(self, updates: int, lr: float, terms: dict[str, float]) -> None:
        """Terms, their sum and the learning rate, as the engine reports them."""
        losses = {f"loss/{name}": value for name, value in terms.items()}
        self._write(updates, {**losses, "loss/sum": sum(terms.values()), "lr": lr})

    def end(self, record: Record, updates: int) -> None:
        """Accuracies and test loss."""
        values = {"accuracy/test": record.accuracy, "nll/test": record.nll}
        if record.val_accuracy is not None:
            values["accuracy/validation"] = record.val_accuracy
        self._write(updates, values)

    def close(self) -> None:
        """Close the file, however the run ended; every event was flushed."""
        if self._writer and not self._broken:
            with suppress(Exception):
                self._writer.close()

    def _write(self, updates: int, values: dict[str, float]) -> None:
        if self._broken:
            return
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self.folder), purge_step=updates)
            for name, value in values.items():
                self._writer.add_scalar(name, value, updates)
            self._writer.flush()
        except Exception as error:
            self._broken = True
            line = f"logger=tensorboard failed and is left out from here on: {type(error).__name__}: {error}"
            log.warning(line)
            print(f"warning: {line}", file=sys.stderr, flush=True)
