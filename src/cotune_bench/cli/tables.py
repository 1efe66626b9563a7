"""Render tables from the records: python scripts/make_tables.py [table=NAME] [overrides as for run.py] [--strict].

Every table that has runs, or those named by ``table=``. ``--strict`` names the runs that are missing, a line for each
table, and exits with 1 after writing what there is; without ``table=`` every table must be whole.
"""

import sys

from cotune_bench.cli import guarded
from cotune_bench.config.overrides import take_tables
from cotune_bench.errors import UserError
from cotune_bench.reports.build import make_tables


def main(arguments: list[str]) -> int:
    """Write and print the tables; gives the exit code."""
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return 0
    flags = [argument for argument in arguments if argument.startswith("-")]
    if unknown := [flag for flag in flags if flag != "--strict"]:
        raise UserError(f"{unknown[0]} is no flag of make_tables: there is --strict")
    _, lacking = make_tables(*take_tables(argument for argument in arguments if argument not in flags))
    for line in lacking if flags else ():
        print(line, file=sys.stderr)
    return 1 if flags and lacking else 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
