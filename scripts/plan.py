import sys

from cotune_bench.__main__ import main

sys.exit(main(["plan", *sys.argv[1:]]))
