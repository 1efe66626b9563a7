"""What Hydra and OmegaConf say of a setting in several lines, told in one, with the remedy."""

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cotune_bench.config.validate import leaves, suggest
from cotune_bench.errors import UserError

#: What Hydra cannot find where the extra of that name is not installed.
EXTRAS = {"submitit": "slurm"}


def behind(error: BaseException | None) -> UserError | None:
    """The error of ours that Hydra or OmegaConf wrapped, if it is one: a function that a yaml calls has raised it."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def one_line(error: Exception, overrides: Sequence[str], usual: DictConfig, yamls: Path) -> str:
    """The reason in one line; ``usual`` holds the settings there are, ``yamls`` the folder of all choices."""
    text = str(error).partition("Config search path")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if found := re.search(r"Could not find '(hydra/\w+)/(\w+)'", text):
        return _unknown(found[1], found[2], lines) + _extra(text)
    for override in overrides:
        name = override.partition("=")[0].lstrip("+~")
        if "/" not in name and any(f"'{name}'" in line for line in lines):
            known = [leaf for leaf, _ in leaves(usual)]
            return _elsewhere(name, usual, yamls) or f"{name} is not a setting: {suggest(name, known, show=False)}"
    return "; ".join(lines) + _extra(text)


def _unknown(group: str, name: str, lines: list[str]) -> str:
    after = next((place for place, line in enumerate(lines) if line.startswith("Available options")), len(lines))
    return f"{group}={name} is unknown: {suggest(name, lines[after + 1 :])}"


def _extra(text: str) -> str:
    named = (extra for start, extra in EXTRAS.items() if f"'hydra/launcher/{start}" in text)
    return next((f" (install it with: pip install -e '.[{extra}]')" for extra in named), "")


def _elsewhere(name: str, usual: DictConfig, yamls: Path) -> str:
    """Where a setting belongs to other choices of its group, as method.trade_off does; nothing where it does not."""
    group, _, key = name.partition(".")
    others = [path.stem for path in sorted((yamls / group).glob("*.yaml")) if key in OmegaConf.load(path)]
    if not key or not others:
        return ""
    return f"{name} is not a setting of {group}={usual[group].name}, but of {', '.join(others)}: leave it out"
