import sys

from cotune_bench.cli import main

sys.exit(main(["compare", *sys.argv[1:]]))
