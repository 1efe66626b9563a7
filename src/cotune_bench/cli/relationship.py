"""Print which source classes each target class resembles, for the Co-Tuning run of these settings."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cotune_bench.cli.parser import Parser
from cotune_bench.config import compose_config
from cotune_bench.errors import UserError


def main(arguments: list[str]) -> int:
    """Print the relationship as percentages that sum to 100 in each row."""
    parser = Parser("relationship", __doc__, top="3", method="")
    parser.add_argument("overrides", nargs="*", help="top=N source classes to show (3), and settings of a run")
    given = parser.read(arguments)
    if not given.top.isdigit() or given.top == "0":
        raise UserError(f"top={given.top} cannot be used: it is a number of source classes above 0")
    config = compose_config(["method=cotuning", *given.overrides])
    from cotune_bench.storage.relationship_file import in_words, shares
    from cotune_bench.training.experiment import Experiment

    experiment = Experiment.build(config).placed()
    experiment.method.prepare(experiment.data, experiment.cache)
    relationship = experiment.method.get_buffer("relationship").double().cpu().numpy()
    table = Table("target", "source classes", title=f"Category relationship: {config.method.relationship}")
    for name, row in zip(experiment.data.classes, relationship, strict=True):
        table.add_row(Text(name), Text(in_words(shares(row, experiment.backbone.info.classes), int(given.top))))
    Console().print(table)
    return 0
