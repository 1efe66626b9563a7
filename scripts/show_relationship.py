import sys

from cotune_bench.__main__ import main

sys.exit(main(["relationship", *sys.argv[1:]]))
