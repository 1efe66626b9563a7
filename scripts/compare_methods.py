import sys

from cotune_bench.cli import main

sys.exit(main(["compare-methods", *sys.argv[1:]]))
