"""From command-line overrides to a checked configuration and its key, without torch."""

from cotune_bench.config.compose import (
    CONF,
    OF_REPLICATE,
    PACKAGE,
    axes,
    build,
    check_choice,
    check_sweep,
    choices,
    compose_config,
    key_of,
    parse,
    reader,
    run_config,
    run_key,
    upgraded,
    with_reader,
)

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
    "upgraded",
    "with_reader",
]
