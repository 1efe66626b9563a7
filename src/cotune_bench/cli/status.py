"""Show what runs, failed and finished last in a results folder, and how complete its tables are.

Without table=NAME, the folder first and then all tables; with it, the state of every cell of the table.
"""

import sys
import time
from contextlib import suppress

from cotune_bench.cli.parser import Parser, take_tables
from cotune_bench.config import choices
from cotune_bench.errors import UserError
from cotune_bench.reports.overview import overview_lines
from cotune_bench.reports.status import not_begun, rerun_commands, results_folder, status_lines, table_status

EVERY = 5.0  # seconds between two screens of --watch


def main(arguments: list[str]) -> int:
    """Print states, or commands; nothing is written."""
    parser = Parser("status", __doc__)
    parser.add_argument("overrides", nargs="*", help="table=NAME, and the settings that its runs were started with")
    parser.add_argument("--failed", action="store_true", help="print the commands that run the failed cells again")
    parser.add_argument("--watch", action="store_true", help=f"print it again every {EVERY:.0f} s, until Ctrl-C")
    given = parser.read(arguments)
    tables, overrides = take_tables(given.overrides)
    if not given.watch:
        print("\n".join(_all(tables, overrides, failed=given.failed)))
        return 0
    if given.failed:
        raise UserError("--watch shows states: leave out --failed")
    with suppress(KeyboardInterrupt):
        while True:
            lines = _states(tables, overrides) if tables else overview_lines(results_folder(overrides))
            clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
            print(clear + "\n".join([*lines, ""]), flush=True)
            time.sleep(EVERY)
    return 0


def _all(tables: list[str], overrides: list[str], *, failed: bool) -> list[str]:
    """What is printed once: of the tables that are named, or of the folder and all tables."""
    if tables:
        return _commands(tables, overrides) if failed else _states(tables, overrides)
    empty = not_begun(overrides)
    begun = [name for name in choices("table") if name not in empty]
    if failed:
        return _commands(begun, overrides)
    states = {name: table_status(name, overrides) for name in begun}
    missing = {name for name, table in states.items() if all(cell.state == "missing" for cell in table.cells)}
    empty |= {name: len(states.pop(name).cells) for name in missing}
    never = [f"tables not begun: {', '.join(f'{name} ({empty[name]})' for name in sorted(empty))}"] if empty else []
    shown = [line for table in states.values() for line in ["", *status_lines(table)]]
    return [*overview_lines(results_folder(overrides)), "", *never, *shown]


def _states(tables: list[str], overrides: list[str]) -> list[str]:
    found = [[*status_lines(table_status(name, overrides)), ""] for name in tables]
    return [line for lines in found for line in lines][:-1]


def _commands(tables: list[str], overrides: list[str]) -> list[str]:
    return [line for name in tables for line in rerun_commands(table_status(name, overrides))]
