"""The folder of yaml files and the choices of its groups."""

from pathlib import Path

from cotune_bench.errors import UserError, suggest

PACKAGE = Path(__file__).parents[1]
#: The yaml files: inside an installed package, else at the top of the checkout.
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parents[1] / "conf") if path.is_dir())
GROUPS = ("method", "data", "backbone", "protocol", "table", "zoo")


def choices(group: str) -> list[str]:
    """Names of a group's yaml files, sorted."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def check_choice(group: str, name: str) -> None:
    """UserError if a group has no yaml file of this name."""
    if group == "data" and ("/" in name or "\\" in name):
        raise UserError(f"data={name} is no data set: data=folder data.root={name} takes a folder of images")
    if name not in choices(group):
        raise UserError(f"{group}={name} is unknown: {suggest(name, choices(group))}")
