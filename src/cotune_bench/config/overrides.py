"""Hydra's overrides: parsed, spread over the values of a sweep, and quoted."""

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from cotune_bench.errors import UserError

#: Values of one axis of a sweep.
MOST = 100_000
#: Path settings, which may contain characters that are special to Hydra.
PATHS = ("data.root", "data_root", "results", "cache")


def parse(overrides: Sequence[str]) -> list[Override]:
    """Hydra's overrides; UserError for text that is not an override."""
    parser, parsed = OverridesParser.create(), []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            raise UserError(f"{text} cannot be read: settings are given as name=value, see run --help") from error
    return parsed


def axes(overrides: Sequence[str]) -> list[list[str]]:
    """For every override the overrides it sweeps over, itself if it names one value."""
    spread = []
    for one in parse(overrides):
        values = [one.input_line or ""]
        if one.is_sweep_override():
            try:
                first = list(islice(one.sweep_string_iterator(), MOST + 1))
            except HydraException as error:  # an interval, a pattern
                raise UserError(f"{one.input_line} cannot be run: name the values, as in name=1,2") from error
            if one.is_range_sweep():
                first = [f"{float(value):.12g}" if "." in value else value for value in first]  # 0.1 + 0.2 is 0.3
            if len(first) > MOST:
                raise UserError(f"{one.input_line} names more than {MOST:,} values: sweep over fewer")
            values = [f"{one.get_key_element()}={value}" for value in first]
        spread.append(values)
    return spread


def readable(override: str) -> str:
    """The same override; a path with characters that are special to Hydra (``~``, parentheses, ...) is quoted."""
    name, equals, value = override.partition("=")
    if not equals or name not in PATHS or value[:1] in ("'", '"'):
        return override
    if value.startswith("~"):
        return path_override(name, Path(value).expanduser())
    try:
        (one,) = parse([override])
    except UserError:
        return path_override(name, value)
    read_as_text = one.is_sweep_override() or isinstance(one.value(), str)
    return override if read_as_text else path_override(name, value)  # 2024 and null are folders, too


def path_override(name: str, path: str | Path) -> str:
    """The override that sets ``name`` to exactly this path, whatever characters are in it."""
    return f"{name}={quoted(path)}"


def value_text(value: object) -> str:
    """A value in the grammar of the command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(value_text, value))}]"
    if isinstance(value, str | Path):
        return quoted(value)
    return "null" if value is None else str(value).lower()


def quoted(text: str | Path) -> str:
    """A text that Hydra reads as it is, whatever characters are in it."""
    return "'" + re.sub(r"(\\*)'", lambda found: 2 * found[1] + "\\'", str(text)) + "'"
