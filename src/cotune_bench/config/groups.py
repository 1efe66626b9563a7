"""The folder of yaml files and the choices of its groups."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from cotune_bench.errors import UserError, suggest

PACKAGE = Path(__file__).parents[1]
#: The yaml files: inside an installed package, else at the top of the checkout.
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parents[1] / "conf") if path.is_dir())
GROUPS = ("method", "data", "backbone", "protocol", "table", "zoo")


#: What reading a file that is no yaml raises.
NO_YAML = (YAMLError, UnicodeDecodeError)


def choices(group: str) -> list[str]:
    """Names of a group's yaml files, sorted."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def check_choice(group: str, name: str) -> None:
    """UserError if a group has no yaml file of this name."""
    if group == "data" and ("/" in name or "\\" in name):
        raise UserError(f"data={name} is no data set: data=folder data.root={name} takes a folder of images")
    if name not in choices(group):
        raise UserError(f"{group}={name} is unknown: {suggest(name, choices(group))}")


def load(group: str, name: str) -> Any:
    """Settings of a group's yaml file as plain data, unresolved; UserError if it has none."""
    try:
        found = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    except NO_YAML as error:
        raise unreadable(error, f"{group}={name}") from error
    if not found or not isinstance(found, dict):
        raise UserError(f"conf/{group}/{name}.yaml holds no settings: write lines NAME: VALUE")
    return found


def unreadable(error: Exception, *chosen: str) -> UserError:
    """What is wrong with the file of one of these choices."""
    lines = "; ".join(line.strip() for line in str(error).splitlines())
    return UserError(f"a yaml file of {', '.join(chosen)} cannot be read ({lines}): correct it")
