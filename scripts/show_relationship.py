import sys

from cotune_bench.cli import main

sys.exit(main(["relationship", *sys.argv[1:]]))
