import sys

from cotune_bench.cli import main

sys.exit(main(["prepare-data", *sys.argv[1:]]))
