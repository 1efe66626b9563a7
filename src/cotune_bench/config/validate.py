"""Checks of overrides against the yaml files: names, types and ranges."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from cotune_bench.config import groups
from cotune_bench.errors import UserError, nearest

Number = TypeVar("Number", int, float)

#: Settings that may be null, each with a value of its other type.
NULLABLE = {"replicate": 0, "protocol.threads": 1, "backbone.temperature": 1.0, "backbone.temperature_logits": ""}
CHOICES = {
    "keep_checkpoint": (True, False, "auto"),
    "compile": ("none", "default", "reduce-overhead", "max-autotune"),
    "recompute": ("never", "always"),
    "logger": ("none", "tensorboard", "wandb", "mlflow"),
}
#: Settings of Hydra that may be given: launchers, how much it prints, and how many cells it launches at once.
HYDRA = ("hydra/launcher", "hydra.launcher.", "hydra.verbose", "hydra.sweep.", "hydra.sweeper.max_batch_size")
#: Names by which settings are known elsewhere.
ALIASES = {
    "epochs": ["protocol.updates"],
    "steps": ["protocol.updates"],
    "learning_rate": ["protocol.lr"],
    "root": ["data.root"],
}
#: Settings that name the function of a yaml file, which nobody sets.
FIXED = (".name", ".reader", "._target_")
FOLDERS = ("results", "cache", "data_root")
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list [a,b]"}
#: Seeds are given to several generators; torch and numpy agree on these.
SEEDS = range(2**32)


def check_names(parsed: Iterable[Override], usual: DictConfig) -> None:
    """UserError if an override sets what is not a setting of these yaml files."""
    known = set(_names(OmegaConf.to_container(usual, resolve=False)))
    for one in parsed:
        name = one.key_or_group
        if name.startswith(HYDRA) or name in (*known, *groups.GROUPS) or "@" in name:
            continue
        if name.replace("method.tune.", "method.", 1) in known:  # a setting whose yaml does not name it for tuning
            continue
        group, _, key = name.partition(".")
        yamls = groups.choices(group) if group in groups.GROUPS else []
        others = [other for other in yamls if key in OmegaConf.load(groups.CONF / group / f"{other}.yaml")]
        if others:
            others = f"of {group}={usual[group].name}, but of {', '.join(others)}: leave it out"
            raise UserError(f"{name} is not a setting {others}")
        if name.startswith("hydra") or not name:
            allowed = "hydra/launcher, hydra.launcher.NAME, hydra.sweeper.max_batch_size and hydra.verbose"
            remedy = f"settings are given as name=value, and of Hydra's own only {allowed}"
            raise UserError(f"{one.input_line} cannot be used: {remedy}")
        known = {other for other in known if not other.endswith(FIXED)}
        inner = [other for other in known if other.endswith(f".{name}")] + ALIASES.get(name, [])
        hint = f"did you mean {' or '.join(sorted(inner))}?" if inner else nearest(name, known).strip()
        raise UserError(f"{name} is not a setting: {hint or 'cotune-bench run --cfg job shows all settings'}")


def _names(values: Any, prefix: str = "") -> Iterable[str]:
    """Dotted names of all settings."""
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")


def check_values(parsed: Sequence[Override], config: DictConfig, usual: DictConfig) -> None:
    """UserError if an override gives a value of another type than the yaml files, or one out of range."""
    for one in parsed:
        name = one.key_or_group
        if "/" in name or name.startswith("hydra.") or name in groups.GROUPS:
            continue
        value, default = OmegaConf.select(config, name), NULLABLE.get(name, OmegaConf.select(usual, name))
        if name in CHOICES:
            if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in CHOICES[name]):
                choices = ", ".join(map(str, CHOICES[name])).lower()
                raise UserError(f"{one.input_line} cannot be used: choose {choices}")
        elif default is not None and not (value is None and name in NULLABLE) and not _alike(value, default):
            kind = KINDS.get(type(default), KINDS[list]) + (" or null" if name in NULLABLE else "")
            raise UserError(f"{one.input_line} cannot be used: it must be {kind}")
        if name in FOLDERS and not str(value).strip():
            raise UserError(f"{one.input_line} cannot be used: name a folder, {name}=. for this one")
        if value is not None:
            check_range(name, value)


def _alike(value: Any, default: Any) -> bool:
    """Whether a value has the type of the default; a whole number may stand for a number."""
    if OmegaConf.is_list(default):
        return OmegaConf.is_list(value) and all(_alike(item, default[0]) for item in value if default)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is type(default)


def check_range(name: str, value: Any) -> None:
    """Ranges of the settings outside of the groups."""
    if name == "rate" and not 0 < value <= 1:
        raise UserError(f"rate={value} cannot be used: it is a share of the training images, in (0, 1]")
    if name in ("replicate", "seed", "split_seed") and value not in SEEDS:
        raise UserError(f"{name}={value} cannot be used: it must be 0 or more, and below {SEEDS.stop}")
    if name == "device" and str(value).startswith("meta"):
        raise UserError(f"device={value} cannot be used: it has no numbers; choose auto, cpu or cuda")
    if name in ("checkpoint_every", "devices") and value < 1:
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
