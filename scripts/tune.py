import sys

from cotune_bench.cli import main

sys.exit(main(["tune", *sys.argv[1:]]))
