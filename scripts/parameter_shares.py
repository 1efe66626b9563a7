import sys

from cotune_bench.cli import main

sys.exit(main(["parameter-shares", *sys.argv[1:]]))
