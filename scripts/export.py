import sys

from cotune_bench.__main__ import main

sys.exit(main(["export", *sys.argv[1:]]))
