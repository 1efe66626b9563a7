"""Runs one configuration for the command line: skip what is finished, follow it, keep what happened."""

import json
import logging
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from cotune_bench.config import run_config, run_key
from cotune_bench.config.changed import changed
from cotune_bench.config.keys import variants
from cotune_bench.errors import UserError, described
from cotune_bench.storage.escape import plain
from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.find_run import CARD
from cotune_bench.storage.records import Record, RecordStore
from cotune_bench.training.interrupts import InterruptedRun, StopRequest
from cotune_bench.training.loggers import require_logger
from cotune_bench.training.progress import RunProgress

if TYPE_CHECKING:
    from cotune_bench.training.experiment import Experiment

log = logging.getLogger("cotune_bench")

DONE, SKIPPED, FAILED, ELSEWHERE = "done", "skipped", "failed", "running elsewhere"


@dataclass(frozen=True)
class Outcome:
    """What became of one cell, in one line."""

    key: str
    state: str
    line: str


def run(config: DictConfig, *, shown: bool = False) -> Outcome:
    """Train, evaluate and record one configuration, unless a record exists or another process is running it.

    A run that was killed resumes from its last checkpoint.

    Args:
        shown: show a progress bar on a terminal, else print a line a minute.

    Raises:
        UserError: the input is wrong; nothing was written.
        InterruptedRun: a signal stopped the run; it was saved, or even recorded.
        Exception: whatever went wrong in training, after a failure record was written.
    """
    key, store, started = run_key(config), RecordStore(Path(config.results)), time.monotonic()
    folder = store.results / "runs" / key
    if store.finished(key) and not config.force:
        if config.keep_checkpoint is True and not (folder / CARD).is_file():
            line = f"{key} was finished before and its weights were not kept"
            raise UserError(f"{line}: force=true trains it again and keeps them")
        return Outcome(key, SKIPPED, f"{key}: finished before, not run again (force=true does)")
    require_logger(config.logger)
    progress = RunProgress(folder, key, config, shown=shown)
    with _failures(folder, config, progress):
        from cotune_bench.inference.kept_network import keep, keeping  # torch takes seconds to import
        from cotune_bench.training.checkpoint import Checkpoints
        from cotune_bench.training.company import company
        from cotune_bench.training.experiment import Experiment

        experiment = Experiment.build(config)
        kept = keeping(config, experiment.method)
        checkpoints = Checkpoints(folder, config.checkpoint_every)
        checkpoints.started = started
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with _alone(experiment, folder), _log_file(folder / "run.log"), StopRequest() as stop:
                if store.finished(key) and not config.force:
                    return Outcome(key, SKIPPED, f"{key}: finished meanwhile by another process")
                OmegaConf.save(OmegaConf.create(run_config(config)), folder / "config.yaml")
                experiment.splits.write()
                with progress, company(config):
                    placed = experiment.placed()
                    placed.train(progress, checkpoints, stop)
                    for name, content in placed.artifacts().items():
                        write_atomically(folder / name, content)
                    further = [variant.record(checkpoints.started) for variant in placed.variants()]
                    record = placed.record(checkpoints.started)
                    progress.logger.end(record, config.protocol.updates)
                    if kept:  # first: a run that is finished has its weights
                        names, files = placed.data.classes, placed.files
                        keep(config, record, placed.method, placed.backbone, names, files, folder)
                for other in further:  # first: a run that is finished has them all
                    log.info(_summary(config, other, store.add(other, again=config.force)))
                line = _summary(config, record, store.add(record, again=config.force))
                log.info(line)
                checkpoints.delete()
                progress.write("done")
        except Timeout:
            return Outcome(key, ELSEWHERE, f"{key}: another process is running it")
    if stop.number:  # after the last update: the cell is done, but the sweep it belongs to is to end
        raise InterruptedRun(stop.number)
    return Outcome(key, DONE, line)


@contextmanager
def _alone(experiment: "Experiment", folder: Path) -> Iterator[None]:
    """Hold the lock of the run, and that of the runs which its training gives records of; Timeout if one is taken."""
    keys = {experiment.key, *(run_key(one) for one in variants(experiment.config, experiment.method.variants))}
    with ExitStack() as stack:
        for place in dict.fromkeys([folder, folder.with_name(min(keys))]):
            place.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(place / "lock", blocking=False))
        yield


def failure_line(config: DictConfig, error: Exception) -> str:
    """Why a run failed, and the file that has the traceback."""
    path = Path(config.results) / "runs" / run_key(config) / "failure.json"
    return plain(f"failed: {described(error, path.parent)}" + (f" -> {path}" if path.exists() else ""))


def _summary(config: DictConfig, record: Record, path: Path) -> str:
    """The one line at the end of a run."""
    unit = f"seed {record.seed}" if config.replicate is None else f"replicate {config.replicate}"
    settings = f", {' '.join(found)}" if (found := changed(record.config)) else ""
    validation = "" if record.val_accuracy is None else f" (validation {record.val_accuracy:.2f} %)"
    return (
        f"{record.data} {record.method} rate {record.rate:g} {unit}: "
        f"{record.accuracy:.2f} %{validation} in {record.seconds:.1f} s{settings} -> {path}"
    )


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, mode="a", encoding="utf-8")  # a resumed run appends
    handler.handleError = lambda record: None  # a full disk is reported by the run
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    except InterruptedRun as stopped:
        log.info("%s and saved", stopped)
        raise
    except BaseException as error:
        log.error("%s: %s", type(error).__name__, error)
        raise
    finally:
        log.removeHandler(handler)
        handler.close()


@contextmanager
def _failures(folder: Path, config: DictConfig, progress: RunProgress) -> Iterator[None]:
    """Write how the block ended: ``failure.json`` if it raised, until a later success; bad input leaves nothing."""
    path = folder / "failure.json"
    alone = FileLock(folder / "lock", blocking=False)  # a process that is running the cell writes its own status
    try:
        yield
    except UserError as error:
        if progress.begun:
            with suppress(Timeout), alone:
                progress.write("failed", reason=str(error))
        raise
    except InterruptedRun:
        with suppress(Timeout), alone:
            progress.write("interrupted")
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
        with suppress(Timeout, OSError), alone:  # of a full disk, say the first error
            write_atomically(path, (json.dumps(failure, indent=1) + "\n").encode())
            progress.write("failed", reason=failure["reason"])
        raise
    path.unlink(missing_ok=True)
