"""Show how complete a table is: the state of every cell, of all tables if none is named."""

from cotune_bench.cli.parser import Parser, take_tables
from cotune_bench.config import choices
from cotune_bench.reports.status import rerun_commands, status_lines, table_status


def main(arguments: list[str]) -> int:
    """Print the state of every cell, or commands; nothing is written."""
    parser = Parser("status", __doc__)
    parser.add_argument("overrides", nargs="*", help="table=NAME, and the settings that its runs were started with")
    parser.add_argument("--failed", action="store_true", help="print the commands that run the failed cells again")
    given = parser.read(arguments)
    tables, overrides = take_tables(given.overrides)
    for place, name in enumerate(tables or choices("table")):
        table = table_status(name, overrides)
        lines = rerun_commands(table) if given.failed else [""] * (place > 0) + status_lines(table)
        for line in lines:
            print(line)
    return 0
