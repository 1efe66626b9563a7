import sys

from cotune_bench.__main__ import main

sys.exit(main(["results", *sys.argv[1:]]))
