"""Show how far a table is: python scripts/status.py table=desk.

Takes the overrides that its runs were started with, and all tables if none is named. ``--failed`` prints the commands
that run the failed cells again instead.
"""

import sys

from cotune_bench.cli import guarded
from cotune_bench.config import choices
from cotune_bench.config.overrides import take_tables
from cotune_bench.errors import UserError
from cotune_bench.reports.status import rerun_commands, status_lines, table_status


def main(arguments: list[str]) -> int:
    """Print the state of every cell, or commands; nothing is written and nothing else imported."""
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return 0
    flags = [argument for argument in arguments if argument.startswith("-")]
    if unknown := [flag for flag in flags if flag != "--failed"]:
        raise UserError(f"{unknown[0]} is no flag of status: there is --failed")
    tables, overrides = take_tables(argument for argument in arguments if argument not in flags)
    for place, name in enumerate(tables or choices("table")):
        table = table_status(name, overrides)
        lines = rerun_commands(table) if flags else ([""] if place else []) + status_lines(table)
        for line in lines:
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
