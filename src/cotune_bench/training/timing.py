"""How fast this machine trains and tests with a method: a few updates of the real loop."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from cotune_bench.backbones.additional import further_backbones
from cotune_bench.backbones.base import Backbone
from cotune_bench.config import build
from cotune_bench.config.protocol import Protocol, views_of
from cotune_bench.data.dataset import Dataset
from cotune_bench.data.target import TargetData, Views, target_data
from cotune_bench.inference.evaluate import predict
from cotune_bench.methods.base import Method
from cotune_bench.storage.cache import Cache
from cotune_bench.training.engine import fit
from cotune_bench.training.experiment import choose_execution, devices, set_threads
from cotune_bench.training.pace import Counts, Pace

#: Updates that are timed after the first, which wakes the libraries: so many, or fewer once the seconds are spent.
#: Where the first takes that long, waking is a small part of it, and it stands for all.
TIMED, SECONDS = 10, 3.0


class _EnoughError(Exception):
    """Raised by the report of an update to end a measurement."""


def measure(config: DictConfig, counts: Counts) -> Pace:
    """Pace of the real loop on random pixels, with random weights: neither changes the time that is taken."""
    values = OmegaConf.to_container(config.protocol, resolve=True)
    protocol = replace(Protocol(**values), updates=TIMED + 1, drop_at=(), lr=1e-6, val=0.0)  # type: ignore[arg-type]
    set_threads(protocol.threads)
    device = devices(config.device)[0]
    ticks: list[float] = []

    def note(updates: int, lr: float, terms: dict[str, float]) -> None:
        ticks.append(time.perf_counter())
        if ticks[-1] - ticks[0] > SECONDS:
            raise _EnoughError

    with tempfile.TemporaryDirectory() as folder:

        def untrained(section: DictConfig) -> Backbone:
            return build(OmegaConf.merge(section, {"weights": "random"}), cache=Path(folder))  # type: ignore[arg-type]

        backbone = untrained(config.backbone)
        further = further_backbones(config.method, backbone, untrained)
        data = _random_data(protocol, counts, backbone.info.mean, backbone.info.std).to(device)
        method = build(config.method, backbone, counts.classes, head_init="normal", drop=["name", "tune"], **further)
        choose_execution(method, protocol, device, recompute=config.recompute, compile_mode=config.compile)
        method.to(device)
        if not method.solved:
            method.prepare = lambda data, cache: None
        for buffer in method.buffers():
            if buffer.is_floating_point():
                buffer.nan_to_num_()  # in place of what prepare would have filled
        ticks.append(time.perf_counter())
        with suppress(_EnoughError):
            fit(method, data, protocol, seed=0, cache=Cache(Path(folder)), report=note, report_every=1)
    first, *later = [after - before for before, after in pairwise(ticks)] or [0.0]  # none where there are no updates
    update = statistics.median(later or [first])
    learnt = [parameter for parameter in method.parameters() if parameter.requires_grad]
    held = sum(
        value.nbytes for value in [*method.parameters(), *method.buffers(), *learnt]
    )  # momentum is as large as weights
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    view = _view_seconds(method, data.test)
    return Pace(update, view, held, name, method.preparation(counts.train) * view)


def _random_data(protocol: Protocol, counts: Counts, mean: Sequence[float], std: Sequence[float]) -> TargetData:
    """At least two batches, all classes in them, and as many test views as a batch has images."""
    train = max(2 * protocol.batch_size, counts.classes)
    count = train + max(protocol.batch_size // views_of(protocol.views), 1)
    shape = (count, protocol.resize, protocol.resize, counts.channels)
    dataset = Dataset(
        name="random",
        content="random",
        pixels=np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),
        labels=np.arange(count) % counts.classes,
        classes=tuple(map(str, range(counts.classes))),
        train=np.arange(train),
        test=np.arange(train, count),
    )
    cpu = torch.device("cpu")
    return target_data(dataset, protocol, rate=1.0, seed=0, split_seed=0, mean=mean, std=std, device=cpu)


def _view_seconds(method: Method, images: Views) -> float:
    """Seconds that one view of an image takes in evaluation."""
    for _ in range(2):  # the first wakes the libraries, unless that is a small part of it
        started = time.perf_counter()
        predict(method, images)
        if (seconds := time.perf_counter() - started) > SECONDS:
            break
    return seconds / (len(images) * len(images.offsets))
