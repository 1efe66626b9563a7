"""Arguments of a command: options for argparse beside Hydra's ``name=value``."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from cotune_bench.errors import UserError
from cotune_bench.storage.escape import plain


class Parser(argparse.ArgumentParser):
    """Parser of one command; bad arguments raise a UserError of one line.

    Args:
        command: its name.
        description: shown by ``--help``.
        settings: arguments ``name=value`` of the command itself, with their defaults; they become attributes.
    """

    def __init__(self, command: str, description: str | None, **settings: str) -> None:
        super().__init__(
            prog=f"cotune-bench {command}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.settings = settings

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse options, positional arguments and the command's own settings in any order."""
        own, rest = dict(self.settings), []
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if equals and name in own:
                own[name] = value
            else:
                rest.append(argument)
        given = self.parse_intermixed_args(rest)
        vars(given).update(own)
        return given

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of printing the usage."""
        raise UserError(f"{message}: see {self.prog} --help")


def warn(lines: Iterable[str]) -> None:
    """Print warnings on standard error."""
    for line in lines:
        print(f"warning: {plain(line)}", file=sys.stderr)


def take_tables(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names that ``table=NAME`` gives, and all other arguments."""
    given = list(arguments)
    tables = [text for text in given if text.partition("=")[0] == "table"]
    return [text.partition("=")[2] for text in tables], [text for text in given if text not in tables]
