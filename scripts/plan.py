import sys

from cotune_bench.cli import main

sys.exit(main(["plan", *sys.argv[1:]]))
