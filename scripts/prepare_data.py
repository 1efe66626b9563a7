import sys

from cotune_bench.__main__ import main

sys.exit(main(["prepare-data", *sys.argv[1:]]))
