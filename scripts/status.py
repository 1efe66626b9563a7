import sys

from cotune_bench.cli import main

sys.exit(main(["status", *sys.argv[1:]]))
