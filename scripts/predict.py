import sys

from cotune_bench.cli import main

sys.exit(main(["predict", *sys.argv[1:]]))
