"""From command-line overrides to checked configurations."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cotune_bench.config import groups
from cotune_bench.config.overrides import MOST, axes, parse, readable
from cotune_bench.config.own_images import (
    DROP,
    check_name,
    folder_name,
    own_images,
    training_images,
    updates_for,
    usual_rate,
)
from cotune_bench.config.protocol import Protocol
from cotune_bench.config.validate import check_names, check_values
from cotune_bench.errors import UserError, suggest

#: Settings that ``replicate`` sets.
OF_REPLICATE = ("seed", "split_seed", "backbone.seed")
#: What every yaml file of a group has.
NEEDED = {
    "method": ("name", "_target_"),
    "data": ("name", "reader"),
    "backbone": ("name", "_target_"),
    "protocol": ("name",),
}
#: Choices of ``hydra/launcher`` that the extra ``slurm`` brings.
LAUNCHERS = ("submitit_local", "submitit_slurm")


def by_rate(values: Mapping[float, Any], *, _root_: DictConfig) -> Any:
    """``${by_rate:{0.15: 2.3, 1.0: 5.0}}``: the value of the rate whose ratio to the configuration's is nearest to 1.

    Of two that are equally near the smaller rate counts; UserError if a key is not a rate.
    """
    for known in values:
        if not isinstance(known, int | float) or not 0 < known <= 1:
            raise UserError(f"by_rate has the key {known}: keys are rates, in (0, 1]")
    if not values:
        raise UserError("by_rate has no rates: write ${by_rate:{RATE: VALUE}}")
    return values[min(sorted(values), key=lambda known: round(abs(math.log(known / _root_.rate)), 9))]


#: Functions that the yaml files call.
RESOLVERS = {
    "own_name": folder_name,
    "auto_updates": lambda *, _root_: updates_for(training_images(_root_.data)),
    "auto_drop": lambda updates: [max(round(DROP * updates), 1)],
    "usual_rate": usual_rate,
    "usual_precision": lambda protocol: "auto" if protocol == "photo" else "fp32",
    "of_replicate": lambda usual, *, _root_: usual if _root_.replicate is None else _root_.replicate,
    "by_rate": by_rate,
}
for name, function in RESOLVERS.items():
    OmegaConf.register_new_resolver(name, function, replace=True)


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The configuration of one run.

    Raises:
        UserError: an override names an unknown choice or setting, or gives a value that cannot be used.
    """
    overrides = [readable(text) for text in overrides]
    parsed = parse(overrides)
    _check_choices(parsed)
    try:
        # All protocols have the same settings; auto would count the images.
        usual = _compose(*[text for text in overrides if _is_choice(text)], "protocol=paper")
        check_names(parsed, usual)
        config = _compose(*overrides)
        _check_sections(config, {one.key_or_group: one.value() for one in parsed})
        check_values(parsed, config, usual)
        if own_images(config.data):
            check_name(config.data.name)
        values = OmegaConf.to_container(config, resolve=True)
        Protocol(**values["protocol"])  # type: ignore[index, call-overload]
    except (HydraException, OmegaConfBaseException) as error:
        raise _user_error(error) from error
    except groups.NO_YAML as error:
        raise groups.unreadable(error, *filter(_is_choice, overrides)) from error
    return config


@functools.cache
def _compose(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(groups.CONF), version_base="1.3"):
        config = compose("config", overrides=list(overrides))
    OmegaConf.set_readonly(config, True)  # it is shared
    return config


def check_sweep(overrides: Sequence[str]) -> int:
    """Check every value of a sweep before anything runs; gives the number of its cells.

    Values are checked one axis at a time, beside the first value of the others; of a range, its ends.
    """
    swept = axes(overrides)
    if (cells := math.prod(map(len, swept))) > MOST:
        raise UserError(f"the sweep has {cells:,} cells, more than {MOST:,}: sweep over fewer values")
    first = [values[0] for values in swept]
    compose_config(first)
    for place, (one, values) in enumerate(zip(parse(overrides), swept, strict=True)):
        for value in values[-1:] if one.is_range_sweep() and len(values) > 1 else values[1:]:
            compose_config([*first[:place], value, *first[place + 1 :]])
    return cells


def _check_choices(parsed: Sequence[Override]) -> None:
    """UserError for overrides that no run takes, whatever its settings are."""
    given = {one.key_or_group: one for one in parsed}
    for name, one in given.items():
        if one.is_delete():
            raise UserError(f"{one.input_line} cannot be used: settings are changed, as in name=value, not removed")
        if name in groups.GROUPS:
            groups.check_choice(name, str(one.value()))
        if name == "table":
            raise UserError(f"{one.input_line} has no place here: run, status, plan and tables take it")
        group, _, key = name.rpartition(".")
        named = name == "data.name" and "data" in given and own_images({"reader": given["data"].value()})
        if group in groups.GROUPS and key in ("name", "reader", "_target_") and not named:
            raise UserError(f"{one.input_line} cannot be used: choose a yaml file with {group}=NAME instead")
    replicate = given.get("replicate")
    for name in OF_REPLICATE if replicate is not None and replicate.value() is not None else ():
        if name in given:
            raise UserError(
                f"{given[name].input_line} cannot be used beside {replicate.input_line}, which sets it: "  # type: ignore[union-attr]
                "leave one of them out"
            )


def _check_sections(config: DictConfig, given: Mapping[str, object]) -> None:
    """UserError if a yaml file lacks what every one of its group has."""
    for group, needed in NEEDED.items():
        section = config.get(group) if OmegaConf.is_dict(config.get(group)) else {}
        if lacking := [name for name in needed if name not in section]:
            raise UserError(f"conf/{group}/{given.get(group, '*')}.yaml lacks {' and '.join(lacking)}: correct it")


def _is_choice(override: str) -> bool:
    """Whether it chooses a yaml file other than the protocol's."""
    name = override.partition("=")[0].lstrip("+~").partition("@")[0]  # of backbone@method.teacher, too
    return name in groups.GROUPS and name != "protocol"


def _user_error(error: Exception) -> UserError:
    """An error of Hydra or OmegaConf in one line; the error of ours that it wraps, if a resolver raised one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:  # of data.root, which resolvers look at
            return UserError(f"data.root cannot be read ({cause.strerror}): name another folder")
        if "Symlink loop" in str(cause):
            return UserError("data.root cannot be read (Symlink loop): name another folder")
        if isinstance(cause, UserError):
            return cause
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, MissingConfigException):
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if name in LAUNCHERS:
            return UserError(f"{group}={name} is not installed: pip install -e '.[slurm]'")
        if error.options:
            return UserError(f"{group}={name} is unknown: {suggest(name, error.options)}")
    return UserError("; ".join(line.strip() for line in str(error).splitlines() if line.strip()))
