"""Show how two runs differ in settings, environment and result.

A run is a key, an unambiguous beginning of one, a run's folder or a record's file, which may be anywhere.
results=FOLDER names the results folder. Exit code 1: equal settings gave different results.
"""

from pathlib import Path

from cotune_bench.cli.parser import Parser
from cotune_bench.reports.run_diff import difference_lines
from cotune_bench.storage.find_run import find_run


def main(arguments: list[str]) -> int:
    """Print the differences."""
    parser = Parser("compare", __doc__, results="results")
    parser.add_argument("runs", nargs=2, metavar="run")
    given = parser.read(arguments)
    lines, kept = difference_lines(*(find_run(Path(given.results), name) for name in given.runs))
    print("\n".join(lines))
    return 0 if kept else 1
