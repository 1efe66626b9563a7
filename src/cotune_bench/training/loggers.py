"""Optional mirrors of a run in trackers; ``metrics.csv`` and the record do not depend on it."""

import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cotune_bench.errors import UserError
from cotune_bench.storage.records import Record

PLAIN = (str, int, float, type(None))  # values that all trackers take

log = logging.getLogger("cotune_bench.training.loggers")


def require_logger(name: str) -> None:
    """Raise UserError if this logger is not installed; each has the name of its package."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise UserError(f"logger={name} needs a package: pip install -e '.[{name}]'")


class Logger:
    """Loss terms, learning rate, scores and settings of a run for a tracker; this one, ``none``, logs nothing.

    The first error is shown as a warning and logging stops, while the run continues.
    """

    name = "none"

    def __init__(self, folder: Path, key: str = "", settings: Mapping[str, object] | None = None) -> None:
        self.folder, self.key = folder, key
        given = (settings or {}).items()
        self.settings = {name: value if isinstance(value, PLAIN) else str(value) for name, value in given}
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
        self._write(updates, values, final=True)

    def close(self) -> None:
        """Close the tracker's run, however the run ended."""
        if self._writer and not self._broken:
            with suppress(Exception):
                self._close()

    def _write(self, updates: int, values: dict[str, float], *, final: bool = False) -> None:
        if self._broken:
            return
        try:
            self._writer = self._writer or self._open(updates)
            self._log(updates, values)
            if final:
                self._finish(values)
        except Exception as error:
            self._broken = True
            line = f"logger={self.name} failed and is left out from here on: {type(error).__name__}: {error}"
            log.warning(line)
            print(f"warning: {line}", file=sys.stderr, flush=True)

    def _open(self, updates: int) -> Any:
        """What writes to the tracker from this update on."""

    def _log(self, updates: int, values: dict[str, float]) -> None:
        """Write values."""

    def _finish(self, scores: dict[str, float]) -> None:
        """What is written once, with the scores."""

    def _close(self) -> None:
        """Close what ``_open`` gave."""


class TensorBoard(Logger):
    """Events in the run's folder; a run that resumes from a checkpoint removes the steps after it."""

    name = "tensorboard"

    def _open(self, updates: int) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder / self.name), purge_step=updates)

    def _log(self, updates: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, updates)
        self._writer.flush()

    def _finish(self, scores: dict[str, float]) -> None:
        plain = {name: value for name, value in self.settings.items() if value is not None}
        self._writer.add_hparams(plain, {f"final/{name}": value for name, value in scores.items()}, run_name=".")

    def _close(self) -> None:
        self._writer.close()


class WandB(Logger):
    """A run of Weights & Biases by the run's key; ``WANDB_MODE=offline`` writes it to the run's folder alone."""

    name = "wandb"

    def _open(self, updates: int) -> Any:
        import wandb  # pyright: ignore[reportMissingImports]

        project = os.environ.get("WANDB_PROJECT", "cotune_bench")
        about = {"id": self.key, "name": self.key, "resume": "allow", "config": self.settings}
        return wandb.init(project=project, dir=str(self.folder), settings=wandb.Settings(silent=True), **about)

    def _log(self, updates: int, values: dict[str, float]) -> None:
        self._writer.log(values, step=updates)

    def _close(self) -> None:
        self._writer.finish()


class MLflow(Logger):
    """A run of MLflow at ``MLFLOW_TRACKING_URI``, by default in ``mlruns`` of the results folder."""

    name = "mlflow"

    def _open(self, updates: int) -> Any:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 prefers a database
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

        usual = (self.folder.resolve().parents[1] / "mlruns").as_uri()
        client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", usual))
        found = client.get_experiment_by_name("cotune_bench")
        experiment = found.experiment_id if found else client.create_experiment("cotune_bench")
        known = self.folder / "mlflow_run"
        if known.exists():
            self._run = known.read_text(encoding="utf-8")
        else:
            self._run = client.create_run(experiment, run_name=self.key).info.run_id
            for name, value in self.settings.items():
                client.log_param(self._run, name, value)
            known.write_text(self._run, encoding="utf-8")
        return client

    def _log(self, updates: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.log_metric(self._run, name, value, step=updates)

    def _close(self) -> None:
        self._writer.set_terminated(self._run)


LOGGERS = {kind.name: kind for kind in (Logger, TensorBoard, WandB, MLflow)}
