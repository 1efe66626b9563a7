"""Show how complete a table is: the state of every cell, of all tables if none is named."""

from cotune_bench.cli.parser import Parser, take_tables
from cotune_bench.config import choices
from cotune_bench.reports.status import not_begun, rerun_commands, status_lines, table_status


def main(arguments: list[str]) -> int:
    """Print the state of every cell, or commands; nothing is written."""
    parser = Parser("status", __doc__)
    parser.add_argument("overrides", nargs="*", help="table=NAME, and the settings that its runs were started with")
    parser.add_argument("--failed", action="store_true", help="print the commands that run the failed cells again")
    given = parser.read(arguments)
    tables, overrides = take_tables(given.overrides)
    empty = {} if tables else not_begun(overrides)
    for name, count in {} if given.failed else empty.items():
        print(f"{name}: not begun, {count} cells")
    for place, name in enumerate(tables or [name for name in choices("table") if name not in empty]):
        table = table_status(name, overrides)
        for line in rerun_commands(table) if given.failed else [""] * (place > 0) + status_lines(table):
            print(line)
    return 0
