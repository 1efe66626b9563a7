import sys

from cotune_bench.__main__ import main

sys.exit(main(["doctor", *sys.argv[1:]]))
