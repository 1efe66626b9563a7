"""Render tables from the records: python scripts/make_tables.py [table=NAME] [overrides as for run.py]."""

import sys

from cotune_bench.cli import guarded
from cotune_bench.reports.make import make_tables


def main(arguments: list[str]) -> int:
    """Every table that has runs, or those named by ``table=``."""
    names = [argument.partition("=")[2] for argument in arguments if argument.startswith("table=")]
    make_tables(names, [argument for argument in arguments if not argument.startswith("table=")])
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
