import sys

from cotune_bench.__main__ import main

sys.exit(main(["status", *sys.argv[1:]]))
