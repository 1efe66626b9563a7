"""What every value of a configuration must be, told in one line where it is not."""

import difflib
import math
from collections.abc import Iterable
from typing import TypeVar

from omegaconf import DictConfig, OmegaConf

from cotune_bench.config.protocol import Protocol
from cotune_bench.errors import UserError

Number = TypeVar("Number", int, float)

#: Settings that may be null, each with a value of its other type.
NULLABLE = {"replicate": 0, "protocol.threads": 1, "backbone.temperature": 1.0, "backbone.temperature_logits": ""}
#: Settings of which the type does not tell all that they may be.
CHOICES = {
    "keep_checkpoint": (True, False, "auto"),
    "compile": ("none", "default", "reduce-overhead", "max-autotune"),
    "recompute": ("never", "always"),
}
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list [a,b]"}
FOLDERS = ("results", "cache", "data_root")
#: Seeds are given to several generators; torch and numpy agree on these.
SEEDS = range(2**32)


def check_values(config: DictConfig, defaults: DictConfig) -> None:
    """Names and types as in the yaml files, then the ranges that hold for every run."""
    check_type("replicate", config.replicate, None)  # first: three other settings follow from it
    if config.replicate is not None:
        check_range("replicate", config.replicate)
    known = dict(leaves(defaults))
    for name, value in leaves(config):
        if name not in known:
            raise UserError(f"{name} is not a setting: {suggest(name, known, show=False)}")
        check_type(name, value, known[name])
    for name in ("rate", "seed", "split_seed", "checkpoint_every", "jobs"):
        check_range(name, config[name])
    for name, choices in CHOICES.items():
        if config[name] not in choices:
            raise UserError(f"{name}={config[name]} is unknown: {suggest(config[name], choices)}")
    for name in FOLDERS:
        if not str(config[name]).strip():
            raise UserError(f"{name}= cannot be used: name a folder, {name}=. for this one")
    OmegaConf.to_container(config, resolve=True)
    Protocol(**OmegaConf.to_container(config.protocol, resolve=True))  # type: ignore[arg-type]


def check_range(name: str, value: float) -> None:
    """Ranges of the top-level settings."""
    if name == "rate" and not 0 < value <= 1:
        raise UserError(f"rate={value} cannot be used: it is a share of the training images, in (0, 1]")
    if name in ("replicate", "seed", "split_seed") and value not in SEEDS:
        raise UserError(f"{name}={value} cannot be used: it must be 0 or more, and below {SEEDS.stop}")
    if name == "checkpoint_every" and value < 1:
        raise UserError(f"{name}={value} cannot be used: it must be 1 or more")
    if name == "jobs" and value < 1 and value != -1:
        raise UserError(f"{name}={value} cannot be used: it must be 1 or more, or -1 for all GPUs or cores")


def number(name: str, text: str, kind: type[Number]) -> Number:
    """A rate or seed from its text."""
    try:
        value = kind(text)
    except ValueError as error:
        raise UserError(f"{name}={text} cannot be used: it must be {KINDS[kind]}") from error
    check_range(name, value)
    return value


def leaves(config: DictConfig, prefix: str = "") -> Iterable[tuple[str, object]]:
    """Dotted names and values of all settings."""
    for name in config:
        value = config[name]
        if isinstance(value, DictConfig) and len(value):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", OmegaConf.to_container(value) if OmegaConf.is_list(value) else value


def check_type(name: str, value: object, default: object) -> None:
    """A value's type is that of the yaml's default."""
    if name in CHOICES:
        if value not in CHOICES[name] or not isinstance(value, bool | str):
            raise UserError(f"{name}={value} cannot be used: choose {', '.join(map(str, CHOICES[name])).lower()}")
        return
    if name in NULLABLE:
        if value is None:
            return
        default = NULLABLE[name]
    if default is None:
        return
    if isinstance(default, list) and isinstance(value, list) and default:
        for item in value:
            check_type(name, item, default[0])
        return
    allowed = (int, float) if isinstance(default, float) else type(default)
    infinite = isinstance(value, float) and not math.isfinite(value)
    if not isinstance(value, allowed) or infinite or (isinstance(value, bool) and not isinstance(default, bool)):
        kind = KINDS[type(default)] + (" or null" if name in NULLABLE else "")
        raise UserError(f"{name}={value} cannot be used: it must be {kind}")


def suggest(name: str, known: Iterable[str], *, show: bool = True) -> str:
    """The nearest known name, and all of them if ``show``."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{guess}choose {', '.join(known)}" if show else guess.strip() or "see --cfg job for all settings"
