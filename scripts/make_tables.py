import sys

from cotune_bench.__main__ import main

sys.exit(main(["tables", *sys.argv[1:]]))
