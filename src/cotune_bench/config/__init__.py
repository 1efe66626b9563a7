"""From command-line overrides to a checked configuration and its key, without torch."""

from cotune_bench.config.build import build, reader
from cotune_bench.config.compose import OF_REPLICATE, check_sweep, compose_config
from cotune_bench.config.groups import CONF, PACKAGE, check_choice, choices
from cotune_bench.config.keys import key_of, run_config, run_key, upgraded, with_targets
from cotune_bench.config.overrides import axes, parse
from cotune_bench.config.single_runs import single_key

__all__ = [
    "CONF",
    "OF_REPLICATE",
    "PACKAGE",
    "axes",
    "build",
    "check_choice",
    "check_sweep",
    "choices",
    "compose_config",
    "key_of",
    "parse",
    "reader",
    "run_config",
    "run_key",
    "single_key",
    "upgraded",
    "with_targets",
]
