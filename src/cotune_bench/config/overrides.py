"""What scripts share in reading their arguments."""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from cotune_bench.errors import UserError

#: Settings that are paths, which people write with signs that Hydra would read otherwise.
PATHS = ("data.root", "data_root", "results", "cache")


class Arguments(argparse.ArgumentParser):
    """Arguments and flags of a script; what cannot be read is told in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of printing the usage."""
        raise UserError(f"{message}: see --help")


def take_settings(arguments: Sequence[str], *names: str) -> tuple[dict[str, str], list[str]]:
    """The arguments ``name=value`` with one of these names, the last of each, and all other arguments."""
    given: dict[str, str] = {}
    rest: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in names:
            given[name] = value
        else:
            rest.append(argument)
    return given, rest


def take_tables(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names that ``table=NAME`` gives, and all other arguments."""
    names, rest = [], []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "table":
            names.append(value)
        else:
            rest.append(argument)
    return names, rest


def readable(override: str) -> str:
    """The same override; a path with signs that Hydra reads otherwise (``~``, parentheses, ...) is quoted."""
    name, equals, value = override.partition("=")
    if not equals or name not in PATHS or value[:1] in ("'", '"'):
        return override
    if value.startswith("~"):
        return path_override(name, Path(value).expanduser())
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return path_override(name, value)
    return override


def path_override(name: str, path: str | Path) -> str:
    """The override that sets ``name`` to exactly this path, whatever signs are in it."""
    return f"{name}={quoted(path)}"


def quoted(text: str | Path) -> str:
    """A text that Hydra reads as it is, whatever signs are in it."""
    return "'" + re.sub(r"(\\*)'", lambda found: 2 * found[1] + "\\'", str(text)) + "'"
