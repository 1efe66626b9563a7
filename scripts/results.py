import sys

from cotune_bench.cli import main

sys.exit(main(["results", *sys.argv[1:]]))
