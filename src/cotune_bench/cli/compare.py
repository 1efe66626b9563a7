"""How two runs differ in configuration, environment and result: python scripts/compare.py RUN RUN [results=FOLDER].

RUN is a key, an unambiguous beginning of one, a run's folder or a record's file; folders and files may lie anywhere.
Of settings and environment only what differs is shown. Exit code 1: equal settings gave different results.
"""

import sys
from pathlib import Path

from cotune_bench.cli import guarded
from cotune_bench.errors import UserError
from cotune_bench.reports.run_diff import difference_lines
from cotune_bench.storage.find_run import find_run


def main(arguments: list[str]) -> int:
    """Print the differences; gives the exit code."""
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return 0
    folders = [text.partition("=")[2] for text in arguments if text.startswith("results=")]
    names = [text for text in arguments if not text.startswith("results=")]
    if len(names) != 2:
        raise UserError(f"compare needs two runs, not {len(names)}: python scripts/compare.py RUN RUN")
    results = Path(folders[-1] if folders else "results")
    lines, kept = difference_lines(*(find_run(results, name) for name in names))
    print("\n".join(lines))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
