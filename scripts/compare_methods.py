import sys

from cotune_bench.__main__ import main

sys.exit(main(["compare-methods", *sys.argv[1:]]))
