"""From command-line overrides to checked, resolved configurations and their keys; no torch in sight."""

import functools
import importlib
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cotune_bench.config.hydra_errors import behind, one_line
from cotune_bench.config.overrides import readable
from cotune_bench.config.own_images import OWN_IMAGES, check_name, own_images, register_resolvers
from cotune_bench.config.validate import check_values, suggest
from cotune_bench.errors import UserError
from cotune_bench.storage.files import digest

PACKAGE = Path(__file__).parents[1]
#: The yaml files: inside an installed package, else at the top of the checkout.
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parents[1] / "conf") if path.is_dir())

GROUPS = ("method", "data", "backbone", "protocol", "table")
#: Raised by one whenever the same configuration would give another result than before.
RESULT_VERSION = 1
#: What of a configuration defines the result; paths and devices do not. ``replicate`` is in its three seeds.
DEFINING = ("method", "data", "backbone", "protocol", "rate", "seed", "split_seed")
#: ``data.rate`` and ``data.split_seed``, where a reader takes them, repeat the settings of that name.
NOT_DEFINING = {"method": ("tune",), "data": ("root", "rate", "split_seed", "cache"), "protocol": ("threads",)}
#: Settings that ``replicate`` sets.
OF_REPLICATE = ("seed", "split_seed", "backbone.seed")
#: Settings of a method that another of its settings turns off: (setting, value) and the names.
WITHOUT_EFFECT = {
    ("relationship", "reverse"): ("relationship_split",),
    ("relationship", "direct"): ("select",),
    ("regularisation", "feature_map"): ("attention_batches", "attention_batch_size"),
}
#: Settings that methods gained after records were written, with the value that those runs had.
LATER = {"cotuning": {"select": "accuracy"}, "delta": {"regularisation": "attention"}}

register_resolvers()


def choices(group: str) -> list[str]:
    """Names of a group's yaml files, sorted."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The configuration of one run.

    Raises:
        UserError: an override names an unknown choice or setting, or gives a value that cannot be used.
    """
    overrides = [readable(text) for text in overrides]
    parsed = parse(overrides)
    own = any(one.key_or_group == "data" and one.value() in OWN_IMAGES for one in parsed)
    for override in parsed:
        if override.is_delete():
            raise UserError(
                f"{override.input_line} cannot be used: settings are changed, as in name=value, not removed"
            )
        _check_group(override)
        if override.key_or_group == "table":
            raise UserError(f"{override.input_line} has no place here: run.py, status, plan and make_tables take it")
        name = override.key_or_group.rpartition(".")
        if (
            name[0] in GROUPS
            and name[2] in ("name", "reader", "_target_")
            and not (own and "".join(name) == "data.name")
        ):
            raise UserError(f"{override.input_line} cannot be used: choose a yaml file with {name[0]}=NAME instead")
    _check_replicate(parsed)
    try:
        config = _compose(*overrides)
        # All protocols have the same settings; those of auto hang on the images.
        fixed = ["protocol=paper"] if own_images(config.data) else []
        defaults = _compose(*[text for text in overrides if _is_choice(text)], *fixed)
        if own_images(config.data):
            check_name(config.data.name)
        check_values(config, defaults)
    except (HydraException, OmegaConfBaseException) as error:
        usual = _compose(*filter(_is_choice, overrides), "protocol=paper")
        raise behind(error) or UserError(one_line(error, overrides, usual, CONF)) from error
    return config


@functools.cache
def _compose(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=list(overrides))
    OmegaConf.set_readonly(config, True)  # it is shared
    return config


def parse(overrides: Sequence[str]) -> list[Override]:
    """Hydra's overrides; UserError for text that is none."""
    parser, parsed = OverridesParser.create(), []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            raise UserError(f"{text} cannot be read: settings are given as name=value, see --help") from error
    return parsed


def axes(overrides: Sequence[str]) -> list[list[str]]:
    """For every override the overrides it sweeps over, itself if it names one value."""
    expanded = []
    for override in parse(overrides):
        if override.is_sweep_override():
            key = override.get_key_element()
            expanded.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            expanded.append([override.input_line or ""])
    return expanded


def check_sweep(overrides: Sequence[str]) -> int:
    """Check every value of a sweep before anything runs; gives the number of its cells.

    Values are checked one axis at a time, beside the first value of the others.
    """
    swept = axes(overrides)
    first = [values[0] for values in swept]
    compose_config(first)
    count = 1
    for place, values in enumerate(swept):
        count *= len(values)
        for value in values[1:]:
            compose_config([*first[:place], value, *first[place + 1 :]])
    return count


def run_config(config: DictConfig) -> dict:
    """The part of a configuration that defines the result, as plain data."""
    values = {name: config[name] for name in DEFINING}  # resolving the others would take as long again
    defining: dict[str, Any] = {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in values.items()
    }
    for group, names in NOT_DEFINING.items():
        defining[group] = {name: value for name, value in defining[group].items() if name not in names}
    if own_images(defining["data"]):
        defining["data"]["root"] = str(Path(config.data.root).expanduser().resolve())
    return _reduced(defining)


def upgraded(defining: dict) -> dict:
    """What :func:`run_config` gives today for the configuration in an older record."""
    method = LATER.get(defining["method"]["name"], {}) | defining["method"]
    return _reduced({**defining, "data": with_reader(defining["data"]), "method": method})


def with_reader(data: dict) -> dict:
    """The section of a data set, which in older files names a function, with the name of its reader."""
    return {**_without_targets(data), "reader": data["_target_"].split(".")[-2]} if "_target_" in data else data


def _reduced(defining: dict) -> dict:
    """Without settings that have no effect, and without ``_target_``: where code lies does not define a result."""
    method = defining["method"]
    ignored = {name for (of, value), names in WITHOUT_EFFECT.items() if method.get(of) == value for name in names}
    return _without_targets({**defining, "method": {name: method[name] for name in method if name not in ignored}})


def with_targets(group: str, section: dict) -> dict:
    """The section of a record's configuration with each ``_target_`` again, as the yaml of its ``name`` has it today.

    Raises:
        UserError: there is no such yaml.
    """
    nested = {name: with_targets("backbone", value) for name, value in section.items() if isinstance(value, dict)}
    if "name" not in section:  # a group of further backbones
        return nested
    check_choice(group, section["name"])
    yaml = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{section['name']}.yaml"))
    return {**section, **nested, "_target_": yaml["_target_"]}  # pyright: ignore


def _without_targets(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_targets(item) for name, item in value.items() if name != "_target_"}


def run_key(config: DictConfig) -> str:
    """Readable cell and a hash of all that defines the result: the name of the run's record and folder."""
    return key_of(run_config(config))


def key_of(defining: dict) -> str:
    """The key of a run that :func:`run_config` tells of."""
    mark = digest(_canonical({**defining, "version": RESULT_VERSION}))[:10]
    data, method = defining["data"]["name"], defining["method"]["name"]
    return f"{data}-{method}-rate{defining['rate']:g}-seed{defining['seed']}-{mark}"


def _canonical(value: Any) -> Any:
    """The same value where 1 and 1.0, both of which the command line may say, are one number."""
    if isinstance(value, dict):
        return {name: _canonical(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def build(section: DictConfig, *positional: object, drop: Iterable[str] = (), **keywords: object) -> Any:
    """Call what the section names with these arguments and the section's other values, less ``drop``.

    The section of a data set names its ``reader``, the others name a function or class as ``_target_``.

    Raises:
        UserError: what is named lies outside this package, does not exist or does not take these values.
    """
    values = OmegaConf.to_container(section, resolve=True)
    assert isinstance(values, dict)  # noqa: S101
    if "reader" in values:
        target, function = f"reader {values.pop('reader')}", reader(section).read
    else:
        target = str(values.pop("_target_"))
        function = _found(target)
    values = {str(name): value for name, value in values.items() if str(name) not in {*drop, *keywords}}
    try:
        inspect.signature(function).bind(*positional, **values, **keywords)
    except TypeError as error:
        raise UserError(f"{target}: {error}; correct its yaml") from error
    return function(*positional, **values, **keywords)


def reader(section: DictConfig) -> Any:
    """The :class:`~cotune_bench.data.dataset.Reader` that the section of a data set names."""
    return _found(f"cotune_bench.data.readers.{section.reader}.READER")


def _found(target: str) -> Any:
    """What this name stands for; UserError if it lies outside this package or does not exist."""
    module, _, attribute = target.rpartition(".")
    if not target.startswith("cotune_bench."):
        raise UserError(f"_target_={target} lies outside cotune_bench: nothing else is ever called from a yaml")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("cotune_bench"):
            raise
        raise UserError(f"{target} does not exist ({error}): correct its yaml") from error


# Checks -----------------------------------------------------------------------------------------------------------


def _check_group(override: Override) -> None:
    if override.key_or_group in GROUPS:
        check_choice(override.key_or_group, str(override.value()))


def _check_replicate(parsed: Sequence[Override]) -> None:
    """UserError if a replicate is given beside one of the seeds that it sets."""
    given = {one.key_or_group: one for one in parsed}
    replicate = given.get("replicate")
    if replicate is not None and replicate.value() is not None:
        for name in OF_REPLICATE:
            if name in given:
                raise UserError(
                    f"{given[name].input_line} cannot be used beside {replicate.input_line}, which sets it: "
                    "leave one of them out"
                )


def check_choice(group: str, name: str) -> None:
    """UserError if a group has no yaml file of this name."""
    if name not in choices(group):
        raise UserError(f"{group}={name} is unknown: {suggest(name, choices(group))}")


def _is_choice(override: str) -> bool:
    """Whether it chooses a yaml file other than the protocol's."""
    name = override.partition("=")[0].lstrip("+~").partition("@")[0]  # of backbone@method.teacher, too
    return name in GROUPS and name != "protocol"
