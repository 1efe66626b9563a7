"""Print which source categories each target class resembles: python scripts/show_relationship.py data=digits.

Takes the overrides of run.py (method is always cotuning) and ``top=N`` source classes to show, 3 by default.
"""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cotune_bench.cli import guarded
from cotune_bench.config import compose_config
from cotune_bench.errors import UserError


def main(arguments: list[str]) -> int:
    """The relationship of one cell, as percentages that sum to 100 in each row."""
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return 0
    top = next((argument.partition("=")[2] for argument in arguments if argument.startswith("top=")), "3")
    if not top.isdigit() or top == "0":
        raise UserError(f"top={top} cannot be used: it is a number of source classes above 0")
    overrides = [argument for argument in arguments if not argument.startswith(("top=", "method="))]
    config = compose_config(["method=cotuning", *overrides])
    from cotune_bench.storage.relationship_file import in_words, shares
    from cotune_bench.training.experiment import Experiment

    experiment = Experiment.build(config)
    with experiment.placed() as placed:
        placed.method.prepare(placed.data, placed.cache)
    relationship = experiment.method.get_buffer("relationship").double().cpu().numpy()
    table = Table("target", "source classes", title=f"Category relationship: {config.method.relationship}")
    for name, row in zip(experiment.data.classes, relationship, strict=True):
        table.add_row(Text(name), Text(in_words(shares(row, experiment.backbone.info.classes), int(top))))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
