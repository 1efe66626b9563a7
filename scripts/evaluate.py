import sys

from cotune_bench.cli import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
