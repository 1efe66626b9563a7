"""Download, unpack and check a data set against the official numbers."""

from cotune_bench.cli.parser import Parser
from cotune_bench.config import choices, compose_config
from cotune_bench.data.prepare.run import check_data, prepare


def main(arguments: list[str]) -> int:
    """Prepare one data set; 0 if it is complete, 1 if not."""
    parser = Parser("prepare-data", __doc__)
    parser.add_argument("name", help=f"one of {', '.join(choices('data'))}")
    parser.add_argument("overrides", nargs="*", help="settings of a run, such as data_root=PATH or data.root=PATH")
    parser.add_argument("--check", action="store_true", help="download and unpack nothing")
    given = parser.read(arguments)
    config = compose_config([f"data={given.name}", *given.overrides])
    if not given.check and not prepare(given.name, config):
        return 1
    return check_data(given.name, config)
