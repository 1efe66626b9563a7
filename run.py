"""``cotune-bench run`` from a checkout: train and evaluate one method, a sweep or a table."""

import sys

from cotune_bench.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
