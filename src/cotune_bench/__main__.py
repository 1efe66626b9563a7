"""Entry point of the command line: Ctrl-C is one line and exit code 130 from here on."""

import os
import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    """:func:`cotune_bench.cli.main`, which takes the signal over once a command is imported."""
    signal.signal(signal.SIGINT, _end)
    from cotune_bench import cli  # noqa: PLC0415

    return cli.main(arguments)


def _end(_number: int, _frame: object) -> None:
    """Nothing has begun that would have to be saved, and imports may swallow an exception."""
    os.write(2, b"interrupted; the same command continues with what is missing\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
