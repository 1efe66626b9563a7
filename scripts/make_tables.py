import sys

from cotune_bench.cli import main

sys.exit(main(["tables", *sys.argv[1:]]))
