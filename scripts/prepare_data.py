"""Get a data set and check it: python scripts/prepare_data.py NAME [--check] [data_root=PATH]; see --help."""

import sys

from cotune_bench.cli import guarded
from cotune_bench.data.prepare.run import main

if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
