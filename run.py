"""Train and evaluate one method, a sweep or a table: python run.py --help."""

import sys

from cotune_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
