"""The cells of a sweep: in this process, in processes of their own, or as jobs of a launcher on other machines."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from omegaconf import DictConfig

from cotune_bench.config import compose_config, run_key
from cotune_bench.errors import UserError, described
from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.slurm import ENDED, job_states
from cotune_bench.training.interrupts import SIGNALS, InterruptedRun, StopRequest, end_with_parent, hand_on
from cotune_bench.training.runner import FAILED, Outcome, failure_line, run

#: Imported once, by the process that the cells are forked from; the first optimiser of a process imports the second.
PRELOAD = ["cotune_bench.training.experiment", "torch._dynamo"]
BEGUN = "begun"  # files of a sweep's folder


def run_cells(cells: Sequence[Sequence[str]], folder: Path, places: Sequence[str], before: int = 0) -> None:
    """Run every cell in a process of its own, as many at once as there are places.

    A cell that is killed, such as for lack of memory, takes no other along. A signal to this process or to the
    process of a cell asks all cells to save and stop.

    Args:
        cells: the overrides of each.
        folder: of the sweep, for the outcomes.
        places: a device for each cell that runs at once.
        before: the others begin when so many first cells have ended.

    Raises:
        InterruptedRun: a signal stopped the sweep.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver") if forks else multiprocessing.get_context("spawn")
    context.set_forkserver_preload(PRELOAD)
    waiting, free = list(enumerate(cells)), list(places)
    running: dict[BaseProcess, tuple[int, str]] = {}

    def end_all(_number: int) -> None:
        for process in running:
            process.terminate()

    with StopRequest(end_all) as stop:
        while running or (waiting and not stop.number):
            while waiting and free and not stop.number and not (running and waiting[0][0] == before):
                (number, cell), place = waiting.pop(0), free.pop(0)
                process = context.Process(target=_run_alone, args=(Path.cwd(), cell, folder, number, place))
                with _without_interrupts():
                    process.start()
                running[process] = number, place
                if stop.number:  # a signal came after the check
                    process.terminate()
            connection.wait([process.sentinel for process in running])
            for process in [one for one in running if not one.is_alive()]:
                number, place = running.pop(process)
                free.append(place)
                code = process.exitcode or 0
                if code - 128 in SIGNALS:
                    stop.ask(code - 128)
                elif code and not stop.number:
                    _note(_killed(cells[number], code), folder, number)
    if stop.number:
        raise InterruptedRun(stop.number)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C waits; processes that are started here never receive it and stop by the SIGTERM of the sweep."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _killed(cell: Sequence[str], code: int) -> Outcome:
    key = run_key(compose_config(cell))
    how = f"killed by {signal.Signals(-code).name} (out of memory?)" if code < 0 else f"ended with exit code {code}"
    return Outcome(key, FAILED, f"{key} {how}; the same command resumes from its checkpoint")


def places(config: DictConfig) -> list[str]:
    """A device for each of ``jobs`` cells at once, all GPUs in turn; -1 stands for one cell per GPU, or per core."""
    from joblib import cpu_count

    from cotune_bench.inference.execution import devices

    found = devices(config.device)
    jobs = config.jobs
    if jobs == -1:
        jobs = len(found) if found[0].type == "cuda" else cpu_count()
    return [str(found[number % len(found)]) for number in range(jobs)]


def _run_alone(here: Path, cell: Sequence[str], folder: Path, number: int, place: str) -> None:
    """:func:`run_cell` in a process of its own, which saves and stops if the process of the sweep is killed."""
    try:
        os.chdir(here)
        end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
        run_cell(cell, folder, number, place)
    except InterruptedRun as stopped:
        sys.exit(stopped.exit_code)
    except OSError as error:  # the outcome cannot be written
        sys.exit(f"error: {described(error)}")
    except KeyboardInterrupt:  # before there was anything to save
        sys.exit(128 + signal.SIGINT)


def run_cell(cell: Sequence[str], folder: Path, number: int, place: str = "auto") -> None:
    """:func:`job` for the overrides of a cell; ``place`` is the device that ``device=auto`` stands for."""
    try:
        config = compose_config(cell)
        if config.device == "auto" != place:
            config = compose_config([*cell, f"device={place}"])
    except UserError as error:
        _note(Outcome("", FAILED, f"{' '.join(cell)}: {error}"), folder, number)
    else:
        job(config, folder, number)


def job(config: DictConfig, folder: Path, number: int) -> None:
    """Run one cell of a sweep and write its outcome, whatever it is, so that the sweep continues.

    The process of the sweep prints the outcome.

    Args:
        folder: of the sweep, seen by all its jobs.
        number: of the cell in the sweep; a job that is queued again keeps it.

    Raises:
        InterruptedRun: a signal stopped the cell, and there is no scheduler that would queue it again.
    """
    key = run_key(config)
    write_atomically(folder / f"{BEGUN}{number}", key.encode())
    try:
        outcome = run(config)
    except UserError as error:
        outcome = Outcome(key, FAILED, f"{key}: {error}")
    except InterruptedRun as stopped:
        try:
            hand_on(stopped.number)  # a scheduler queues the job again and ends this process here
        except Exception as error:
            outcome = Outcome(
                key, FAILED, f"{key} stopped: {str(error).rstrip('.')}; the same command resumes from there"
            )
        else:
            raise
    except Exception as error:
        outcome = Outcome(key, FAILED, f"{key} {failure_line(config, error)}")
    _note(outcome, folder, number)


def _note(outcome: Outcome, folder: Path, number: int) -> None:
    write_atomically(_path(folder, number), json.dumps(asdict(outcome)).encode())


def watch_jobs() -> None:
    """Let submitit ask squeue how its jobs are where sacct cannot answer, on a cluster without accounting.

    Without an answer it would wait forever for a job that was killed, and warn at every try.
    """
    from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

    class SqueueWatcher(SlurmInfoWatcher):
        def update(self) -> None:
            if (states := job_states()) is not None:
                found = {job: states.get(job, ("GONE", ""))[0] for job in self._registered}
                self._info_dict = {
                    job: {"State": state if state in ENDED else "RUNNING"} for job, state in found.items()
                }
            self._last_status_check = time.time()

    if subprocess.run("sacct --noheader", shell=True, capture_output=True).returncode:  # noqa: S602, S607
        SlurmJob.watcher = SqueueWatcher(delay_s=60)


def read_outcomes(folder: Path, cells: int) -> list[Outcome]:
    """Outcomes of a sweep's cells in their order, without those that did not end.

    Every file is asked for by its name: on a network folder, the list of names may be seconds old.
    """
    return [outcome for number in range(cells) if (outcome := outcome_at(folder, number))]


def outcome_at(folder: Path, number: int) -> Outcome | None:
    """The outcome of a cell, None before it has ended."""
    try:
        return Outcome(**json.loads(_path(folder, number).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def begun(folder: Path) -> dict[int, str]:
    """Keys of the cells that have begun, by number."""
    return {int(path.name.removeprefix(BEGUN)): path.read_text() for path in sorted(folder.glob(f"{BEGUN}*"))}


def _path(folder: Path, number: int) -> Path:
    return folder / f"outcome{number}.json"
