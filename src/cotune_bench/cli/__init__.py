"""The command line: one file per command."""

from cotune_bench.cli.run import guarded, main

__all__ = ["guarded", "main"]
