import sys

from cotune_bench.__main__ import main

sys.exit(main(["predict", *sys.argv[1:]]))
