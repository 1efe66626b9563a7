"""Render tables, figures and the report: of every table that has runs, or of those named by table=NAME."""

import sys

from cotune_bench.cli.parser import Parser, take_tables
from cotune_bench.reports.build import make_tables
from cotune_bench.reports.status import results_folder
from cotune_bench.storage.files import check_writable


def main(arguments: list[str]) -> int:
    """Write and print the tables; 1 if runs are missing under ``--strict``."""
    parser = Parser("tables", __doc__)
    parser.add_argument("overrides", nargs="*", help="table=NAME, and the settings that its runs were started with")
    parser.add_argument(
        "--strict", action="store_true", help="count the missing runs of each table, and exit with 1 if there are any"
    )
    given = parser.read(arguments)
    tables, overrides = take_tables(given.overrides)
    check_writable(results_folder(overrides))
    _, lacking = make_tables(tables, overrides)
    for line in lacking if given.strict else ():
        print(line, file=sys.stderr)
    return 1 if given.strict and lacking else 0
