import sys

from cotune_bench.__main__ import main

sys.exit(main(["parameter-shares", *sys.argv[1:]]))
