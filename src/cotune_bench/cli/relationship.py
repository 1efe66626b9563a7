"""Print which source classes each target class resembles, for the Co-Tuning run of these settings.

cotune-bench relationship data=grocery rate=1.0 --figure groceries.png --classes Banana Lemon
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cotune_bench.cli.parser import Parser
from cotune_bench.config import compose_config
from cotune_bench.errors import UserError, suggest
from cotune_bench.storage.escape import plain

if TYPE_CHECKING:
    from cotune_bench.training.experiment import Experiment

SUFFIXES = (".png", ".svg", ".pdf")


def main(arguments: list[str]) -> int:
    """Print the relationship as percentages that sum to 100 in each row."""
    parser = Parser("relationship", __doc__, top="3", method="")
    parser.add_argument("overrides", nargs="*", help="top=N source classes to show (3), and settings of a run")
    parser.add_argument("--figure", type=Path, help=f"draw it to this file ({', '.join(SUFFIXES)})")
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="target classes of the figure; all by default")
    given = parser.read(arguments)
    if not given.top.isdigit() or given.top == "0":
        raise UserError(f"top={given.top} cannot be used: it is a number of source classes above 0")
    if given.figure and given.figure.suffix not in SUFFIXES:
        raise UserError(f"--figure {given.figure} names no kind of picture: end it in {' or '.join(SUFFIXES)}")
    config = compose_config(["method=cotuning", *given.overrides])
    from cotune_bench.storage.relationship_file import in_words, shares
    from cotune_bench.training.experiment import Experiment

    experiment = Experiment.build(config).placed()
    targets = list(experiment.data.classes)
    for name in given.classes or ():
        if name not in targets:
            raise UserError(f"--classes {name} is no class of {config.data.name}: {suggest(name, targets)}")
    experiment.method.prepare(experiment.data, experiment.cache)
    relationship = experiment.method.get_buffer("relationship").double().cpu().numpy()
    rows = [shares(row, experiment.backbone.info.classes) for row in relationship]
    title = (
        f"Category relationship ({config.method.relationship}) of {config.data.name} at rate {config.rate:g}, "
        f"split {config.split_seed}, crops of {config.protocol.crop} pixels, source temperature "
        f"{experiment.backbone.info.temperature_at(config.protocol.crop):.4g}"
    )
    table = Table("target", "source classes", title=title)
    for name, row in zip(targets, rows, strict=True):
        table.add_row(Text(plain(name)), Text(plain(in_words(row, int(given.top)))))
    Console().print(table)
    if given.figure:
        from cotune_bench.reports.figures.base import image
        from cotune_bench.reports.figures.pictures import relationship_pictures
        from cotune_bench.storage.files import write_atomically

        drawn = [targets.index(name) for name in given.classes or targets]
        pictured = [(targets[label], rows[label], _photograph(experiment, label)) for label in drawn]
        write_atomically(given.figure, image(relationship_pictures(pictured), given.figure.suffix[1:]))
        print(f"drawn to {given.figure}")
    return 0


def _photograph(experiment: "Experiment", label: int) -> Path | None:
    """The first training image of a class, where images are files."""
    files = experiment.files
    if files is None:
        return None
    return files.root / next(files.files[index] for index in files.train if files.labels[index] == label)
