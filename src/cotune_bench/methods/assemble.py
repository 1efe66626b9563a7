"""From the sections of a configuration to a backbone, and a method on it."""

from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from cotune_bench.backbones.additional import further_backbones, weights_of
from cotune_bench.backbones.base import Backbone
from cotune_bench.config import build
from cotune_bench.data.task import Classification
from cotune_bench.methods.base import Method


def make_backbone(section: DictConfig, cache: Path, *, random: bool = False) -> Backbone:
    """The backbone of a section of ``conf/backbone``.

    Args:
        section: of the configuration.
        cache: folder of downloaded weights.
        random: the same layers with random weights, which a state dict is to fill or at which nobody looks.
    """
    if random:
        unused = {"temperature_logits": None} if "temperature_logits" in section else {}
        section = OmegaConf.merge(section, {"weights": "random", **unused})  # type: ignore[assignment]
    return build(section, cache=cache)


def make_method(
    section: DictConfig,
    backbone: Backbone,
    task: Classification,
    cache: Path,
    *,
    seed: int | None = None,
    random: bool = False,
) -> tuple[Method, list[dict[str, str]]]:
    """The method of a section of ``conf/method`` on this backbone, and the weights of further ones that it names.

    Args:
        section: of the configuration.
        backbone: taken over by the method.
        task: of the target data.
        cache: folder of downloaded weights.
        seed: of the new head; None draws it from torch's generator as it is.
        random: random weights for the further backbones.

    Raises:
        UserError: the method and the backbone do not fit together.
    """
    load = partial(make_backbone, cache=cache, random=random)
    further = further_backbones(section, backbone, load)
    if seed is not None:
        torch.manual_seed(seed)
    method = build(section, backbone, task, drop=["name", "tune"], **further)
    return method, weights_of(further)
