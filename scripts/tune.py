import sys

from cotune_bench.__main__ import main

sys.exit(main(["tune", *sys.argv[1:]]))
