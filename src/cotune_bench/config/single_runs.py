"""The runs of fine-tuning from each single source of a method, as settings that give their keys."""

import re
import shlex
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cotune_bench.config import groups
from cotune_bench.config.compose import compose_config
from cotune_bench.config.keys import NOT_DEFINING, run_key, without_seeds
from cotune_bench.config.overrides import quoted, value_text
from cotune_bench.config.own_images import own_images


def single_runs(*, _root_: DictConfig) -> list[str]:
    """``${single_runs:}``: for the backbone and each of ``method.sources`` the settings of its run, on one line."""
    sources = [_root_.backbone, *_root_.method.sources.values()]
    return [shlex.join(_settings(_root_, source)) for source in sources]


def single_key(settings: str) -> str:
    """The key of the run that a line of :func:`single_runs` names."""
    return run_key(compose_config(shlex.split(settings)))


def _settings(root: DictConfig, source: DictConfig) -> list[str]:
    """Choices of yaml files, and the values that differ from theirs."""
    data = root.data.name if root.data.name in groups.choices("data") else root.data.reader
    chosen = {"data": data, "method": "finetune", "backbone": source.name, "protocol": root.protocol.name}
    seeds = {name: root[name] for name in ("rate", "seed", "split_seed")}
    lines = [f"{name}={value}" for name, value in {**chosen, **seeds}.items()]
    if own_images(root.data):
        lines.append(f"data.root={quoted(root.data.root)}")
    usual = compose_config(lines)
    for group, section in (("data", root.data), ("backbone", source), ("protocol", root.protocol)):
        values, expected = (_plain(part) for part in (section, usual[group]))
        left_out = (*NOT_DEFINING.get(group, ()), "_target_")
        differing = [name for name in values if name not in left_out and expected.get(name) != values[name]]
        lines += [f"{group}.{name}={_text(values[name])}" for name in differing]
    return lines


def _plain(section: DictConfig) -> dict[str, Any]:
    return without_seeds(OmegaConf.to_container(section, resolve=True))


def _text(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[\w./-]+", value) else value_text(value)


OmegaConf.register_new_resolver("single_runs", single_runs, replace=True)
