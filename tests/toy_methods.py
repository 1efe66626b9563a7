"""Methods on the toy backbone, as their yaml files have them."""

import copy
import functools
import tempfile
from itertools import count
from pathlib import Path

import torch
from conftest import make_backbone, make_data, make_dataset
from omegaconf import DictConfig
from safetensors.torch import save_file
from toy import toy_record

from cotune_bench.backbones.additional import further_backbones
from cotune_bench.config import build, compose_config, single_key
from cotune_bench.methods.base import Method
from cotune_bench.methods.linear_probe import LinearProbe
from cotune_bench.storage.cache import Cache
from cotune_bench.storage.records import RecordStore

CLASSES = 3
#: Settings for a backbone of two blocks.
OF_TWO_BLOCKS = {"random_policy": ["method.always=1"], "spottune_global": ["method.k=1"]}
FINISHED = tempfile.TemporaryDirectory()  # of runs that methods read


@functools.cache
def section_of(name: str) -> DictConfig:
    return compose_config([f"method={name}", *OF_TWO_BLOCKS.get(name, ())]).method


def make_method(name: str, seed: int = 0, *, classes: int = CLASSES, head_init: str = "normal", **options) -> Method:
    section, first = section_of(name), make_backbone(seed, **options)
    seeds = count(seed + 1)
    further = further_backbones(section, first, lambda _section: make_backbone(next(seeds)))
    if "parts" in section:
        more = further["sources"].values()
        further["results"] = str(finished_parts(section.parts, [make_backbone(seed), *more], classes, seed))
    torch.manual_seed(seed)
    return build(section, first, classes, drop=["name", "tune"], head_init=head_init, **further)


def finished_parts(parts: list[str], backbones: list, classes: int, seed: int) -> Path:
    """Results with runs of these settings, whose networks are linear probes on these backbones."""
    results = Path(FINISHED.name) / f"{classes}-{seed}"
    if results.exists() or classes > CLASSES:  # more are built, not prepared
        return results
    data = make_data(make_dataset(classes=classes))
    for part, backbone in zip(parts, copy.deepcopy(backbones), strict=True):
        probe = LinearProbe(backbone, classes, grid=[1.0], without_validation=1.0)
        probe.prepare(data, Cache(results / "cache"))
        folder = results / "runs" / single_key(part)
        folder.mkdir(parents=True)
        save_file(probe.state_dict(), folder / "model.safetensors")
        RecordStore(results).add(toy_record(key=folder.name))
    return results
