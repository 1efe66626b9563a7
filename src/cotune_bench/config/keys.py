"""Settings that define a result, and the key of a run made from them."""

import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cotune_bench.config import groups
from cotune_bench.config.own_images import own_images
from cotune_bench.storage.files import digest

#: Raised by one whenever the same configuration would give another result than before.
RESULT_VERSION = 1
#: Settings that define the result; paths and devices do not. ``replicate`` is in its three seeds.
DEFINING = ("method", "data", "backbone", "protocol", "rate", "seed", "split_seed")
#: ``data.rate`` and ``data.split_seed``, where a reader takes them, repeat the settings of that name.
NOT_DEFINING = {
    "method": ("tune", "results"),
    "data": ("root", "rate", "split_seed", "cache"),
    "protocol": ("threads",),
}
#: Settings of a method that another of its settings turns off: (setting, value) and the names.
WITHOUT_EFFECT = {
    ("relationship", "reverse"): ("relationship_split",),
    ("relationship", "direct"): ("select",),
    ("regularisation", "feature_map"): ("attention_batches", "attention_batch_size"),
}
#: Weights of which ``backbone.seed`` chooses one; the others of ``glyphnet`` are one network each.
NUMBERED = ("glyphs", "train", "random")
#: Settings that methods gained after records were written, with the value that those runs had: at it, a setting
#: is no part of the key, so that their records stay in their tables.
LATER = {"cotuning": {"select": "accuracy"}, "delta": {"regularisation": "attention", "distance": "published"}}

#: The same of protocols.
LATER_PROTOCOL = {"optimizer": "sgd", "schedule": "step", "warmup": 0, "label_smoothing": 0, "mixup": 0}


def run_config(config: DictConfig) -> dict:
    """The part of a configuration that defines the result, as plain data."""
    whole: Any = OmegaConf.to_container(config, resolve=True)
    defining = {name: whole[name] for name in DEFINING}
    for group, names in NOT_DEFINING.items():
        defining[group] = {name: value for name, value in defining[group].items() if name not in names}
    method = defining["method"]
    if method["name"] == "combine":  # all settings of each, those of its yaml, too
        given = method["settings"] or {}
        method["settings"] = {name: {**_settings(name), **given.get(name, {})} for name in method["of"]}
    if own_images(defining["data"]):
        defining["data"]["root"] = str(Path(config.data.root).expanduser().resolve())
    if not config.sync_batch_norm and (parts := processes(config.devices)) > 1:
        defining["batch_norm_parts"] = parts
    return _reduced(defining)


def processes(devices: int) -> int:
    """Processes that a run is to have: those of torchrun, which started this one, or of ``devices``."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else devices


def batch_norm_overrides(defining: Mapping[str, Any]) -> list[str]:
    """Overrides for batch statistics of each device's own part of a batch; none where they are of the whole batch."""
    parts = defining.get("batch_norm_parts")
    return [f"devices={parts}", "sync_batch_norm=false"] if parts else []


def _settings(method: str) -> dict[str, Any]:
    """Settings of a method's yaml, without its name and its grid."""
    groups.check_choice("method", method)
    own = groups.load("method", method).items()
    return {name: value for name, value in own if name not in ("_target_", "name", "tune", "defaults")}


def upgraded(defining: dict) -> dict:
    """What :func:`run_config` gives today for the configuration in an older record."""
    return _reduced({**defining, "data": with_reader(defining["data"])})


def with_reader(data: dict) -> dict:
    """The section of a data set, which in older files names a function, with the name of its reader."""
    return {**_without_targets(data), "reader": data["_target_"].split(".")[-2]} if "_target_" in data else data


def _reduced(defining: dict) -> dict:
    """Without settings that have no effect, and without ``_target_``: the place of code does not define a result."""
    method = defining["method"]
    ignored = {name for (of, value), names in WITHOUT_EFFECT.items() if method.get(of) == value for name in names}
    kept = {**defining, "method": {name: method[name] for name in method if name not in ignored}}
    return _without_targets(without_seeds(kept))


def with_targets(group: str, section: dict) -> dict:
    """The section of a record's configuration with each ``_target_`` again, as the yaml of its ``name`` has it today.

    Raises:
        UserError: there is no such yaml.
    """
    nested = {name: with_targets("backbone", value) for name, value in section.items() if isinstance(value, dict)}
    if "name" not in section:  # a group of further backbones, or settings of combined methods
        return {**section, **nested}
    groups.check_choice(group, section["name"])
    return {**section, **nested, "_target_": groups.load(group, section["name"])["_target_"]}


def without_seeds(value: Any) -> Any:
    """Without the seed of each backbone, wherever it is, whose weights have no numbers."""
    if not isinstance(value, dict):
        return value
    ignored = {"seed"} if "weights" in value and value["weights"] not in NUMBERED else set()
    return {name: without_seeds(item) for name, item in value.items() if name not in ignored}


def _without_targets(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_targets(item) for name, item in value.items() if name != "_target_"}


def run_key(config: DictConfig) -> str:
    """Readable cell and a hash of all that defines the result: the name of the run's record and folder."""
    return key_of(run_config(config))


def variants(config: DictConfig, values: Mapping[str, Sequence[str | float | None]]) -> list[DictConfig]:
    """The same configuration with each other combination of these values of the method's settings."""
    changed = [
        OmegaConf.merge(config, {"method": dict(zip(values, one, strict=True))}) for one in product(*values.values())
    ]
    return [other for other in changed if other.method != config.method]  # pyright: ignore[reportReturnType]


def key_of(defining: dict) -> str:
    """The key of the run that this result of :func:`run_config` defines."""
    data, method = defining["data"]["name"], defining["method"]["name"]
    values = {
        "method": _without(LATER.get(method, {}), defining["method"]),
        "protocol": _without(LATER_PROTOCOL, defining["protocol"]),
    }
    mark = digest(_canonical({**defining, **values, "version": RESULT_VERSION}))[:10]
    return f"{data}-{method}-rate{defining['rate']:g}-seed{defining['seed']}-{mark}"


def _without(usual: dict, section: dict) -> dict:
    """A section without the settings that have these values."""
    return {name: value for name, value in section.items() if name not in usual or value != usual[name]}


def _canonical(value: Any) -> Any:
    """The same value where 1 and 1.0 are one number."""
    if isinstance(value, dict):
        return {name: _canonical(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
