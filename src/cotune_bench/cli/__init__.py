"""The command line ``cotune-bench COMMAND``: one file per command, whose ``main`` takes the rest."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module

from cotune_bench.errors import REMEDIES, UserError, described, suggest
from cotune_bench.storage.escape import plain
from cotune_bench.training.interrupts import InterruptedRun

COMMANDS = {
    "run": "train and evaluate one configuration, a sweep or a table (the default: run may be left out)",
    "tables": "render tables, figures and the report from the records",
    "status": "show which cells of a table are done, running, failed or missing",
    "plan": "estimate what the missing cells of a table cost",
    "compare": "show how two runs differ in settings, environment and result",
    "compare-methods": "find the best method for your images within a time budget",
    "predict": "predict pictures with a kept network",
    "evaluate": "evaluate a kept network on its test images or on others",
    "export": "write a kept network for other programs",
    "results": "list, export, merge, rekey or refresh records",
    "prepare-data": "download, unpack and check a data set",
    "doctor": "check packages, devices, folders, weights and data sets",
    "tune": "choose a method's trade-off on validation images",
    "relationship": "print which source classes each target class resembles",
    "rank-backbones": "score backbones for your images without training",
    "parameter-shares": "count the task-specific parameters of networks",
}
HELP = f"""\
usage: cotune-bench COMMAND [arguments]
       cotune-bench [run] NAME=VALUE...

{"".join(f"  {name:18}{line}{chr(10)}" for name, line in COMMANDS.items())}
cotune-bench COMMAND --help explains a command; cotune-bench run --help lists the settings of a run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments (``sys.argv`` by default) name; returns the exit code.

    0: done. 1: a run failed, or a check found something. 2: bad input, nothing written. 130, 143: stopped.
    """
    return guarded(_command, list(sys.argv[1:] if arguments is None else arguments))


def guarded(command: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Exit code of a command; bad input and Ctrl-C become one line, and a reader (``head``) may leave early."""
    try:
        code = command(arguments)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {plain(error)}", file=sys.stderr)
        return 2
    except InterruptedRun as interrupted:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(f"{interrupted}; the same command resumes from there", file=sys.stderr)
        return interrupted.exit_code
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains as it closes
        return 141  # the shell's 128 + SIGPIPE
    except Exception as error:
        if _from_interrupt(error):  # numpy says something else where Ctrl-C came while it was imported
            return _interrupted()
        if isinstance(error, OSError) and error.errno in REMEDIES:
            print(f"error: {plain(described(error))}", file=sys.stderr)
            return 1
        raise


def _interrupted() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would be a traceback while Python closes
    print("interrupted; the same command continues with what is missing", file=sys.stderr)
    return 130


def _from_interrupt(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _command(arguments: list[str]) -> int:
    first = arguments[0] if arguments else "--help"
    if first in ("-h", "--help"):
        print(HELP)
        return 0
    if "--version" in arguments:
        from importlib.metadata import version  # takes as long as all imports of this file

        print(f"cotune_bench {version('cotune_bench')}")
        return 0
    if first in COMMANDS:
        arguments = arguments[1:]
    elif first[:1] in ("-", "+", "~") or "=" in first:
        first = "run"
    else:
        raise UserError(f"{first} is not a command: {suggest(first, COMMANDS)}")
    command = import_module(f"{__name__}.{first.replace('-', '_')}").main
    if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on a command may have to save
    return command(arguments)
