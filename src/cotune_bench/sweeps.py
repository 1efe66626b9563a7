"""The cells of a sweep: jobs in other processes or on other machines, whose outcomes travel through files."""

import ctypes
import importlib
import json
import multiprocessing
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from omegaconf import DictConfig

from cotune_bench.config import run_key
from cotune_bench.errors import UserError
from cotune_bench.files import write_atomically
from cotune_bench.runner import FAILED, SKIPPED, Outcome, run
from cotune_bench.signals import SIGNALS, InterruptedRun, hand_on

PR_SET_PDEATHSIG = 1  # of prctl(2)


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

    Other systems than Linux may not survive a fork with torch in memory: there it is the same process.
    """
    if sys.platform != "linux":
        return job(config, folder, number)
    parent, worker = os.getppid(), multiprocessing.current_process().name != "MainProcess"
    if worker:
        _end_with_parent()
    importlib.import_module("cotune_bench.experiment")  # seconds that every child would need
    child = multiprocessing.get_context("fork").Process(target=_child, args=(config, folder, number, os.getpid()))
    child.start()
    heard: list[int] = []

    def pass_on(signal_number: int, _frame: FrameType | None) -> None:
        heard.append(signal_number)
        if signal_number != signal.SIGINT and child.pid:  # the terminal sends that one to all of its processes
            os.kill(child.pid, signal_number)

    before = {signal_number: signal.signal(signal_number, pass_on) for signal_number in SIGNALS}
    try:
        child.join()
    finally:
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)
    if worker and os.getppid() != parent:
        os._exit(1)  # nobody waits for this worker, and joblib would leave it idle for ever
    code = child.exitcode or 0
    if heard or code > 128:
        raise InterruptedRun(heard[0] if heard else code - 128)
    if code:
        how = (
            f"killed by {signal.Signals(-code).name} (out of memory?)" if code < 0 else f"ended with exit code {code}"
        )
        key = run_key(config)
        _note(Outcome(key, FAILED, f"{key} {how}; the same command goes on from its checkpoint"), folder, number)
    return None


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
