"""What scripts share in reading their arguments."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from cotune_bench.errors import UserError


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
