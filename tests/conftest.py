"""A small residual backbone with random weights and small random data, in place of downloads."""

import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml
from kept_runs import DESK, FOLDER, put_pets, train
from omegaconf import base as omegaconf_base
from torch import nn

from cotune_bench import cli
from cotune_bench.backbones.base import Backbone, SourceInfo
from cotune_bench.backbones.trunk import Trunk
from cotune_bench.config import groups
from cotune_bench.config.compose import _compose
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.dataset import Dataset
from cotune_bench.data.target import TargetData, target_data
from cotune_bench.storage.cache import Cache

yaml.SafeLoader = yaml.CSafeLoader  # OmegaConf's parent class: half the time of each configuration
omegaconf_base.parse = functools.cache(omegaconf_base.parse)  # of the same interpolations; a sixth of it

SOURCE_CLASSES = 5


class Block(nn.Module):
    """conv-bn-relu-conv-bn plus identity, relu."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(x + inner)


def make_backbone(seed: int = 0, taps: tuple[str, ...] = ("layer1.0.conv2", "layer2.1.conv2")) -> Backbone:
    """Two stages of 4 channels on grey images, 5 source classes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk = Trunk()
        trunk.add_module("conv1", nn.Conv2d(1, 4, 3, padding=1, bias=False))
        trunk.add_module("layer1", nn.Sequential(Block(4)))
        trunk.add_module("layer2", nn.Sequential(nn.AvgPool2d(2), Block(4)))
        trunk.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
        trunk.add_module("flatten", nn.Flatten())
        head = nn.Linear(4, SOURCE_CLASSES)
        for module in trunk.modules():
            if isinstance(module, nn.BatchNorm2d):  # running statistics that differ from a batch's
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    info = SourceInfo(
        weights="random",
        sha256=f"tiny{seed}",
        classes=tuple("abcde"),
        mean=(0.5,),
        std=(0.25,),
        temperature=1.5,
    )
    return Backbone("tiny", trunk, head, info, blocks=("layer1.0", "layer2.1"), taps=taps)


PROTOCOL = Protocol(
    name="tiny",
    updates=6,
    batch_size=8,
    lr=0.05,
    backbone_ratio=0.1,
    drop_at=(4,),
    drop_factor=0.1,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    head_init="normal",
    resize=8,
    resize_mode="squash",
    crop=8,
    resize_filter="bicubic",
    augment="none",
    shift=0,
    scale=(1.0, 1.0),
    flip=False,
    views="center",
    val=0.2,
    split_order="split_then_sample",
    threads=1,
)


def make_dataset(per_class: int = 20, classes: int = 3) -> Dataset:
    """Grey 8x8 images whose brightness tells their class, half of them for training."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(classes), per_class)
    pixels = rng.integers(0, 120, (len(labels), 8, 8, 1)) + labels.reshape(-1, 1, 1, 1) * 60
    half = len(labels) // 2
    return Dataset(
        name="toy",
        pixels=pixels.astype(np.uint8),
        labels=labels,
        classes=tuple(f"class{number}" for number in range(classes)),
        train=np.arange(half),
        test=np.arange(half, len(labels)),
    )


def make_data(dataset: Dataset | None = None, protocol: Protocol = PROTOCOL, **options) -> TargetData:
    """The toy data of one run."""
    values = {"rate": 1.0, "seed": 0, "split_seed": 0, "mean": (0.5,), "std": (0.25,), "device": torch.device("cpu")}
    return target_data(dataset or make_dataset(), protocol, **{**values, **options})


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums depend on the number of threads in their last bits."""
    torch.set_num_threads(1)


@pytest.fixture
def cache(tmp_path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cache")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working directory with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["run.py"])
    return tmp_path


class Answer(NamedTuple):
    """Exit code of a command, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def ask(capsys) -> Callable[..., Answer]:
    """Call ``cotune-bench`` with these arguments."""
    return lambda *arguments: Answer(cli.main(arguments), *capsys.readouterr())


@pytest.fixture
def conf(tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of the yaml files, which all that follows reads and writes."""
    shutil.copytree(groups.CONF, tmp_path / "conf")
    monkeypatch.setattr(groups, "CONF", tmp_path / "conf")
    _compose.cache_clear()
    yield tmp_path / "conf"
    _compose.cache_clear()


@pytest.fixture(scope="session")
def kept_results(tmp_path_factory) -> Path:
    """Results of Co-Tuning that kept its networks: ResNet-18 on the pictures in ``pets`` beside them, and digits."""
    place = tmp_path_factory.mktemp("kept")
    pets = put_pets(place / "pets")
    train(place, *FOLDER, f"data.root={pets}", "method=cotuning")
    train(place, *DESK)
    return place / "results"


@pytest.fixture
def kept_here(tmp_path, monkeypatch, kept_results) -> Path:
    """An empty working directory with the kept runs under results/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(kept_results)
    return tmp_path
