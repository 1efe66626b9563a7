"""Is everything there that runs need? python scripts/doctor.py [--json] [overrides such as data_root=PATH]

Versions, devices and what precision=auto means on them, optional extras, folders and free disk, weights and their
hashes, data sets and their official counts; with data=folder data.root=PATH, too, your own images. Each line begins
with OK, -- (not there, and not needed) or !! (wrong, and what to do). Exit code 1 if there is a !!.
"""

import sys

from cotune_bench.cli import doctor


def main(arguments: list[str]) -> int:
    """Answer --help and bad input, else examine."""
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return 0
    try:
        from cotune_bench.cli import guarded
    except ImportError:  # a package is missing, which is the first thing to tell
        return doctor.main(arguments)
    return guarded(_checked, arguments)


def _checked(arguments: list[str]) -> int:
    from cotune_bench.errors import UserError

    for argument in arguments:
        if argument.startswith("-") and argument != "--json":
            raise UserError(f"{argument} is no flag of doctor: there is --json")
    return doctor.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
