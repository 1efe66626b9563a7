import sys

from cotune_bench.__main__ import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
