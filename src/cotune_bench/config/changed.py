"""Settings of a run that differ from the yaml files of its choices: what distinguishes runs of one cell."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cotune_bench.config.groups import CONF
from cotune_bench.config.keys import batch_norm_overrides
from cotune_bench.storage.records import Record, row_of


def changed(config: Mapping[str, Any]) -> list[str]:
    """``name=value`` of each setting in a record's configuration that its yaml files have otherwise, in their order.

    Values that follow from the images or from ``replicate`` are left out.
    """
    names = {group: str(config[group].get("name")) for group in ("method", "data", "backbone", "protocol")}
    replicate = config["seed"] if config["seed"] == config["split_seed"] else None
    usual = _usual(**names, rate=float(config["rate"]), replicate=replicate)
    found = []
    for group in names:
        for name, value in leaves(config[group], f"{group}."):
            if name in usual and value != usual[name]:
                text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                found.append(f"{name}={value if isinstance(value, str) else text}")
    split = [f"split_seed={config['split_seed']}"] if replicate is None and config["split_seed"] else []
    return [*found, *split, *batch_norm_overrides(config)]


def changed_text(record: Record) -> str:
    """:func:`changed` of a record in one line."""
    try:
        return " ".join(changed(record.config))
    except (KeyError, TypeError, AttributeError):  # a configuration that was cut
        return ""


def described_row(record: Record) -> dict[str, object]:
    """:func:`~cotune_bench.storage.records.row_of` with the column ``changed``."""
    return row_of(record) | {"changed": changed_text(record)}


@cache
def _usual(
    method: str, data: str, backbone: str, protocol: str, rate: float, replicate: int | None
) -> dict[str, Any]:
    """Dotted names and values of these choices' yaml files; without those that depend on more."""
    chosen = {"method": method, "data": data, "backbone": backbone, "protocol": protocol}
    own = {"rate": rate, "replicate": replicate, "precision": "${usual_precision:${protocol.name}}"}
    root = OmegaConf.create({**own, **{group: _yaml(f"{group}/{name}") for group, name in chosen.items()}})
    root.merge_with(_yaml(f"tuned/{method}_{data}"))
    return dict(leaves(root))


def _yaml(name: str) -> DictConfig:
    path = CONF / f"{name}.yaml"
    found = OmegaConf.load(path) if path.is_file() else OmegaConf.create({})
    return OmegaConf.masked_copy(found, [key for key in found if key != "defaults"])  # pyright: ignore


def leaves(values: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names and values of nested mappings, without those that OmegaConf cannot resolve."""
    for name in values:
        try:
            value = values[name]
        except OmegaConfBaseException:
            continue
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
