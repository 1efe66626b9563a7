import sys

from cotune_bench.cli import main

sys.exit(main(["export", *sys.argv[1:]]))
