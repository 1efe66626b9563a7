"""The cells of a sweep: jobs in other processes or on other machines, whose outcomes travel through files."""

import ctypes
import json
import multiprocessing
import os
import signal
import sys
from dataclasses import asdict
from multiprocessing.process import BaseProcess
from pathlib import Path

from omegaconf import DictConfig

from cotune_bench.config import run_key
from cotune_bench.errors import UserError
from cotune_bench.storage.files import write_atomically
from cotune_bench.training.interrupts import InterruptedRun, StopRequest, hand_on
from cotune_bench.training.runner import FAILED, SKIPPED, Outcome, run

PR_SET_PDEATHSIG = 1  # of prctl(2)
STOP = "stop"  # file in the folder of a sweep
POLL_S = 0.2


def job(config: DictConfig, folder: Path, number: int) -> None:
    """One cell of a sweep: whatever happens to it is written down, and the sweep goes on.

    Args:
        config: of the cell.
        folder: of the sweep, seen by all its jobs.
        number: of the cell in the sweep; a job that is queued again keeps it.

    Raises:
        InterruptedRun: a signal stopped the cell, and there is no scheduler that would queue it again.
    """
    key = run_key(config)
    try:
        outcome = run(config)
    except UserError as error:
        outcome = Outcome(key, FAILED, f"{key}: {error}")
    except InterruptedRun as stopped:
        try:
            hand_on(stopped.number)  # a scheduler queues the job again and ends this process here
        except Exception as error:
            outcome = Outcome(
                key, FAILED, f"{key} stopped: {str(error).rstrip('.')}; the same command goes on from there"
            )
        else:
            raise
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else ""
        where = Path(config.results) / "runs" / key / "failure.json"
        outcome = Outcome(key, FAILED, f"{key} failed: {type(error).__name__}: {first} -> {where}")
    _note(outcome, folder, number)


def separate_job(config: DictConfig, folder: Path, number: int) -> None:
    """:func:`job` in a process of its own: what kills it, such as a lack of memory, takes no other cell along.

    A signal to it, to its worker or to the whole sweep asks all cells to save and stop: see :func:`stopping`.
    Other systems than Linux may not survive a fork with torch in memory: there it is the same process.
    """
    if sys.platform != "linux":
        if stopped := stop_asked(folder):
            raise InterruptedRun(stopped)
        return job(config, folder, number)
    import fcntl

    parent, worker = os.getppid(), multiprocessing.current_process().name != "MainProcess"
    with (folder / "running").open("a") as running:
        if stopped := stop_asked(folder):
            fcntl.flock(running, fcntl.LOCK_EX)  # what is raised makes joblib kill the other workers: let them save
            raise InterruptedRun(stopped)
        fcntl.flock(running, fcntl.LOCK_SH)
        if worker:
            _end_with_parent()
        from cotune_bench.training import experiment  # noqa: F401 # seconds that every child would need

        child = multiprocessing.get_context("fork").Process(target=_child, args=(config, folder, number, os.getpid()))
        child.start()
        with stopping(folder):
            _wait_for(child, folder)
    if worker and os.getppid() != parent:
        os._exit(1)  # nobody waits for this worker, and joblib would leave it idle for ever
    code = child.exitcode or 0
    if code > 128:
        _ask_to_stop(folder, code - 128)
    elif code and not stop_asked(folder):
        how = (
            f"killed by {signal.Signals(-code).name} (out of memory?)" if code < 0 else f"ended with exit code {code}"
        )
        key = run_key(config)
        _note(Outcome(key, FAILED, f"{key} {how}; the same command goes on from its checkpoint"), folder, number)
    return None


def _wait_for(child: BaseProcess, folder: Path) -> None:
    """Until it ends; once the sweep is to stop, so is the child."""
    while child.is_alive() and not stop_asked(folder):
        child.join(POLL_S)
    if child.is_alive() and child.pid:
        os.kill(child.pid, signal.SIGTERM)
    child.join()


def stopping(folder: Path) -> StopRequest:
    """A context in which a signal asks all cells of the sweep in this folder, by a file, to save and stop."""
    return StopRequest(lambda number: _ask_to_stop(folder, number))


def stop_asked(folder: Path) -> int | None:
    """The number of the signal that asked the sweep in this folder to stop."""
    path = folder / STOP
    return int(path.read_text()) if path.exists() else None


def _ask_to_stop(folder: Path, number: int) -> None:
    if not stop_asked(folder):
        write_atomically(folder / STOP, str(int(number)).encode())


def _child(config: DictConfig, folder: Path, number: int, parent: int) -> None:
    _end_with_parent()
    if os.getppid() != parent:
        return
    try:
        job(config, folder, number)
    except InterruptedRun as stopped:
        sys.exit(stopped.exit_code)


def _end_with_parent() -> None:
    """Let this process hear SIGTERM if its parent is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _note(outcome: Outcome, folder: Path, number: int) -> None:
    if outcome.state != SKIPPED:  # the summary counts them
        print(outcome.line, file=sys.stderr if outcome.state == FAILED else sys.stdout, flush=True)
    write_atomically(_path(folder, number), json.dumps(asdict(outcome)).encode())


def read_outcomes(folder: Path, cells: int) -> list[Outcome]:
    """What became of a sweep's cells, in their order; less those that did not end.

    Every file is asked for by its name: of a network folder, the list of names may be seconds old.
    """
    paths = (_path(folder, number) for number in range(cells))
    return [Outcome(**json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.exists()]


def _path(folder: Path, number: int) -> Path:
    return folder / f"outcome{number}.json"
