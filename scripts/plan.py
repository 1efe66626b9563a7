"""What will the missing cells of a table cost? python scripts/plan.py table=table2 [overrides] [--devices N]

Times a few updates and evaluations of each method on this machine and prints hours, on one device and on N, and disk.
Takes the overrides that the runs are started with. What is done costs nothing; nothing is downloaded or written.
"""

import sys

from cotune_bench.cli import guarded
from cotune_bench.cli.plan import plan, plan_lines
from cotune_bench.config.overrides import take_tables
from cotune_bench.errors import UserError


def main(arguments: list[str]) -> int:
    """Measure and print, with a line on standard error for every measurement."""
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return 0
    rest, devices = list(arguments), 1
    if "--devices" in rest:
        place = rest.index("--devices")
        number = rest[place + 1] if place + 1 < len(rest) else ""
        if not number.isdecimal() or int(number) < 1:
            raise UserError(f"--devices {number} cannot be used: give a whole number above 0")
        devices = int(number)
        del rest[place : place + 2]
    if flags := [argument for argument in rest if argument.startswith("-")]:
        raise UserError(f"{flags[0]} is no flag of plan: there is --devices N")
    names, overrides = take_tables(rest)
    if len(names) != 1:
        raise UserError("plan needs one table: table=NAME")
    found = plan(names[0], overrides, progress=lambda line: print(line, file=sys.stderr, flush=True))
    print("\n".join(plan_lines(found, devices)))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
