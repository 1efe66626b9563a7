"""Small runs that keep their network, and the digits as picture files, for the scripts that use what is kept."""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cotune_bench.config import compose_config
from cotune_bench.data.readers.digits import read
from cotune_bench.inference.kept_network import Kept
from cotune_bench.storage.find_run import find_run
from cotune_bench.training import runner

DESK = ("method=cotuning", "data=digits", "backbone.weights=random", "protocol.lr=0.1", "protocol.updates=30")
FOLDER = (
    *("data=folder", "data.name=folder", "backbone=resnet18", "backbone.weights=random", "protocol.updates=3"),
    *("protocol.batch_size=8", "protocol.resize=40", "protocol.crop=32"),
)
KINDS = ("cat", "dog", "eel")


def train(place: Path, *overrides: str) -> Kept:
    """Run this configuration in ``place/results`` with a cache of its own; what it kept."""
    torch.set_num_threads(1)
    results = place / "results"
    rest = [
        f"cache={place / 'cache'}",
        f"results={results}",
        "keep_checkpoint=true",
        "protocol.threads=1",
        "device=cpu",
    ]
    outcome = runner.run(compose_config([*overrides, *rest]))
    return Kept.of(find_run(results, outcome.key))


def kept(results: Path, data: str) -> Kept:
    """What the only run on a data set kept."""
    (folder,) = (results / "runs").glob(f"{data}-*")
    return Kept.of(find_run(results, folder.name))


def put_digits(root: Path, rows: np.ndarray | None = None) -> Path:
    """The digits' test images, or these, as PNG files in class folders."""
    digits = read("digits")
    for row in digits.test if rows is None else rows:
        path = root / digits.classes[digits.labels[row]] / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.pixels[row, ..., 0]).save(path)
    return root


def put_pets(root: Path, kinds: tuple[str, ...] = KINDS, count: int = 10) -> Path:
    """Class folders of noisy pictures of several sizes, whose colour hints at the class."""
    rng = np.random.default_rng(0)
    for number, kind in enumerate(kinds):
        os.makedirs(root / kind)
        for name in range(count):
            pixels = rng.integers(0, 156, (40 + 3 * name, 70 - 2 * name, 3))
            pixels[..., number % 3] += 60
            Image.fromarray(pixels.astype(np.uint8)).save(root / kind / f"{name}.png")
    return root
