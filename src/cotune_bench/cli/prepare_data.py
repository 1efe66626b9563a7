"""Download, unpack and check a data set against the official numbers."""

from cotune_bench.cli.parser import Parser
from cotune_bench.config import choices, compose_config
from cotune_bench.data.prepare.run import check_data, prepare, rebuild
from cotune_bench.errors import UserError, suggest


def main(arguments: list[str]) -> int:
    """Prepare one data set; 0 if it is complete, 1 if not."""
    parser = Parser("prepare-data", __doc__)
    parser.add_argument("name", help=f"one of {', '.join(choices('data'))}")
    parser.add_argument("overrides", nargs="*", help="settings of a run, such as data_root=PATH or data.root=PATH")
    parser.add_argument("--check", action="store_true", help="download and unpack nothing")
    parser.add_argument("--from-coco", metavar="PATH", help="coco70: crop coco70-rebuilt from COCO 2017 in PATH")
    parser.add_argument("--min-side", type=int, default=32, help="with --from-coco: pixels of a crop's shorter side")
    given = parser.read(arguments)
    if given.name not in choices("data"):
        raise UserError(f"{given.name} is not a data set: {suggest(given.name, choices('data'))}")
    if given.from_coco is not None and given.name not in ("coco70", "coco70-rebuilt"):
        raise UserError(f"--from-coco has no place with {given.name}: it makes coco70-rebuilt, from coco70")
    name = "coco70-rebuilt" if given.from_coco is not None else given.name
    config = compose_config([f"data={name}", *given.overrides])
    if given.from_coco is not None and not given.check:
        rebuild(config, given.from_coco, given.min_side)
    elif not given.check and not prepare(name, config):
        return 1
    return check_data(name, config)
