"""Nothing waits for a GPU between reports: the CPU stands in for it and tells of every copy and every look."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from test_methods import make_method
from test_resident import MEAN, STD, photos
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cotune_bench.data.target import sent, staged
from cotune_bench.inference.evaluate import predict
from cotune_bench.methods.delta_attention import fit_head
from cotune_bench.methods.finetune import FineTune
from cotune_bench.training.engine import fit
from cotune_bench.training.gpu_crops import ResidentBatches, on_device, resident

GPU = torch.device("cuda")


class Gpu:
    """What was copied to the stand-in: ``waits`` from memory that a GPU cannot read by itself, ``copies`` in all."""

    def __init__(self, monkeypatch) -> None:
        self.copies = self.waits = 0
        self.pinned: set[int] = set()
        original = Tensor.to

        def pin(values: Tensor) -> Tensor:
            self.pinned.add(values.data_ptr())
            return values

        def to(values: Tensor, *given: Any, non_blocking: bool = False, **named: Any) -> Tensor:
            if GPU not in given:
                return original(values, *given, **named)
            if values.is_floating_point():  # made there, or moved once before training
                return values
            self.copies += 1
            self.waits += not (non_blocking and values.data_ptr() in self.pinned)
            return values

        monkeypatch.setattr(Tensor, "pin_memory", pin)
        monkeypatch.setattr(Tensor, "to", to)


@pytest.fixture
def gpu(monkeypatch) -> Gpu:
    return Gpu(monkeypatch)


class Looks(TorchDispatchMode):
    """Counts operators whose result the host reads; a batch's decomposition in BSS is the one that has to."""

    READ = ("aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select", "aten::_linalg_eigh")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += [func.name()] if func.name().startswith(self.READ) else []
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["host", "resident"])
def test_batches_travel_without_a_wait(gpu, kind):
    protocol = dataclasses.replace(
        PROTOCOL, resize=32, crop=24, augment="resized_crop", scale=(0.3, 1.0), flip=True, val=0.0, batch_size=12
    )
    there = make_data(photos(), protocol, mean=MEAN, std=STD).train
    expected = on_device(there, protocol) if kind == "resident" else there
    batches = dataclasses.replace(expected, normalize=there.normalize.to(GPU))
    gpu.copies = gpu.waits = 0
    with Looks() as looks:
        found = list(batches.stream(2, 6))
    assert (gpu.waits, looks.seen) == (0, [])
    assert gpu.copies > 0
    for (images, labels), step in zip(found, range(2, 6), strict=True):
        theirs, named = expected(step)
        assert torch.equal(images, theirs)
        assert torch.equal(labels, named)


@pytest.mark.parametrize("name", ["finetune", "l2sp", "delta", "bss", "cotuning"])
def test_training_looks_at_nothing_between_reports(gpu, name, cache):
    method = make_method(name)
    method.prepare(make_data(), cache)
    method.prepare = lambda data, cache: None
    data, looks = make_data().to(GPU), Looks()
    gpu.waits, between = 0, []
    losses = method.losses

    def noted(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        between.append(list(looks.seen))
        looks.seen.clear()
        return losses(images, labels)

    method.losses = noted
    with looks:
        fit(method, data, PROTOCOL, seed=0, cache=cache, report_every=PROTOCOL.updates)
    assert gpu.waits == 0
    expected = ["aten::_linalg_eigh"] if name == "bss" else []
    assert between == [[]] + [expected] * (PROTOCOL.updates - 1)


def test_the_test_is_one_batch_ahead_of_the_gpu(gpu, monkeypatch):
    data = dataclasses.replace(make_data().to(GPU).test, batch_size=4)
    order: list[str] = []
    take, home = type(data).take, Tensor.cpu
    monkeypatch.setattr(type(data), "take", lambda views, rows: order.append("made") or take(views, rows))
    monkeypatch.setattr(Tensor, "cpu", lambda values: order.append("read") or home(values))
    gpu.waits = 0
    logits = predict(FineTune(make_backbone(), 3), data)
    assert gpu.waits == 0
    assert logits.shape == (len(data), 3)
    assert order[:5] == ["made", "made", "read", "made", "read"]


@pytest.mark.parametrize(("free", "there"), [(2, True), (1.99, False)])
def test_images_stay_on_a_gpu_half_of_whose_free_memory_holds_them(gpu, monkeypatch, free, there):
    protocol = dataclasses.replace(PROTOCOL, resize=32, crop=24, augment="resized_crop", val=0.0)
    batches = make_data(photos(), protocol, mean=MEAN, std=STD).to(GPU).train
    size, made = len(batches.images) * 32 * 32 * 3, torch.empty
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free * size), 10 * size))
    monkeypatch.setattr(torch, "empty", lambda *shape, device=None, **more: made(*shape, **more))
    found = resident(batches, protocol)
    assert isinstance(found, ResidentBatches) is there
    if there:
        assert torch.equal(found.pixels, torch.from_numpy(batches.images.take(np.arange(36))))
    assert resident(batches, dataclasses.replace(protocol, augment="none")) is batches
    on_host = dataclasses.replace(batches, normalize=batches.normalize.to(torch.device("cpu")))
    assert resident(on_host, protocol) is on_host


def test_only_a_gpu_reads_memory_of_the_host_by_itself(monkeypatch):
    asked, to = [], Tensor.to
    monkeypatch.setattr(Tensor, "to", lambda values, device, **how: asked.append(how) or to(values, device))
    for name in ("cpu", "meta"):  # others may copy what has been freed by then
        sent(staged(np.zeros(2), torch.device(name)), torch.device(name))
    assert asked == [{"non_blocking": False}] * 2


def test_drawing_the_head_of_delta_s_attention_looks_at_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    features, before = torch.rand(6, 4), torch.get_rng_state()
    fit_head(features, torch.arange(6) % 3, 3, seed=0)  # with two GPUs, fork_rng warns unless it is told which
    assert torch.equal(torch.get_rng_state(), before)
