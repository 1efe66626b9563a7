"""How fast this machine trains and tests with a method: a few updates of the real loop."""

import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from cotune_bench.config.protocol import Protocol, views_of
from cotune_bench.data.dataset import Dataset
from cotune_bench.data.target import Views
from cotune_bench.inference.evaluate import predict
from cotune_bench.inference.execution import devices
from cotune_bench.methods.assemble import make_backbone, make_method
from cotune_bench.methods.base import Method
from cotune_bench.storage.cache import Cache
from cotune_bench.training.assemble import assemble, assemble_data
from cotune_bench.training.engine import fit
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
    device = devices(config.device)[0]
    ticks: list[float] = []

    def note(updates: int, lr: float, terms: dict[str, float]) -> None:
        ticks.append(time.perf_counter())
        if ticks[-1] - ticks[0] > SECONDS:
            raise _EnoughError

    with tempfile.TemporaryDirectory() as folder:
        backbone = make_backbone(config.backbone, Path(folder), random=True)
        data = assemble_data(_random_images(protocol, counts), backbone, protocol)
        method, _ = make_method(config.method, backbone, data.task, Path(folder), random=True)
        reads_runs = hasattr(method, "parts")  # of an ensemble: they are planned, too, and need not be there
        if reads_runs:
            method.check = lambda data: None
        assemble(method, data, protocol, device, recompute=config.recompute, compile_mode=config.compile)
        method, data = method.to(device), data.to(device)
        if reads_runs or not method.solved:
            method.prepare = lambda data, cache: None
        for buffer in method.buffers():
            if buffer.is_floating_point():
                buffer.nan_to_num_()  # prepare would have filled it
        ticks.append(time.perf_counter())
        with suppress(_EnoughError):
            fit(method, data, protocol, seed=0, cache=Cache(Path(folder)), report=note, report_every=1)
    first, *later = [after - before for before, after in pairwise(ticks)] or [0.0]  # none where there are no updates
    update = statistics.median(later or [first])
    learnt = [parameter for parameter in method.parameters() if parameter.requires_grad]
    saved = [value for value in method.state_dict().values() if isinstance(value, torch.Tensor)]
    held = sum(value.nbytes for value in [*saved, *learnt])  # momentum is as large as weights
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    view = _view_seconds(method, data.test)
    return Pace(update, view, held, name, method.preparation(counts.train) * view)


def _random_images(protocol: Protocol, counts: Counts) -> Dataset:
    """At least two batches with all classes, one validation image, and as many test views as a batch has images."""
    train = max(2 * protocol.batch_size, counts.classes)
    count = train + 1 + max(protocol.batch_size // views_of(protocol.views), 1)
    shape = (count, protocol.resize, protocol.resize, counts.channels)
    return Dataset(
        name="random",
        content="random",
        pixels=np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),
        labels=np.arange(count) % counts.classes,
        classes=tuple(map(str, range(counts.classes))),
        train=np.arange(train),
        val=np.arange(train, train + 1),
        test=np.arange(train + 1, count),
    )


def _view_seconds(method: Method, images: Views) -> float:
    """Seconds that one view of an image takes in evaluation."""
    for _ in range(2):  # the first wakes the libraries, unless that is a small part of it
        started = time.perf_counter()
        predict(method, images)
        if (seconds := time.perf_counter() - started) > SECONDS:
            break
    return seconds / (len(images) * len(images.offsets))
