import sys

from cotune_bench.cli import main

sys.exit(main(["doctor", *sys.argv[1:]]))
