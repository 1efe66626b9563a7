"""What a method costs: sizes, and multiply-adds of an image in training and at test."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from cotune_bench.backbones.base import evaluating
from cotune_bench.backbones.precision import arithmetic
from cotune_bench.data.target import TargetData
from cotune_bench.methods.base import Method
from cotune_bench.parallel import alone

#: Test images that are counted; the figure is their mean.
COUNTED = 16


def costs_of(method: Method, data: TargetData) -> dict[str, float]:
    """Costs of a trained method, which stays as it is; empty where no network predicts.

    Multiply-adds are those of convolutions and matrix products as torch counts them, half of its operations.

    Returns:
        ``parameters`` that the method holds, frozen copies too; ``test_macs`` of one view of an image; where updates
        train it, ``trained_parameters`` and ``train_macs`` of an image in a forward and a backward pass.
    """
    positions = np.arange(min(COUNTED, len(data.test)))
    images = data.test.take(positions)[:, 0]
    with evaluating(method), arithmetic(method.precision):
        test = _multiply_adds(lambda: method.predict(images)) / len(positions)
    if not test:
        return {}
    found = {"parameters": sum(one.numel() for one in method.parameters()), "test_macs": test}
    if method.solved:
        return found
    batch = replace(data.train, views=method.train_views)(0)
    trained = copy.deepcopy(method).train()  # batch statistics and gradients of the copy alone change
    learnt = sum(one.numel() for group in trained.param_groups(1.0, 1.0) for one in group["params"])

    def update() -> None:
        torch.manual_seed(0)
        torch.stack(list(trained(batch).values())).sum().backward()

    cuda = batch.inputs.device.type == "cuda"
    with (
        torch.random.fork_rng(devices=[batch.inputs.device] if cuda else []),
        torch.compiler.set_stance("force_eager"),
        arithmetic(method.precision),
        alone(),
    ):
        train = _multiply_adds(update) / len(batch.inputs)
    return {**found, "trained_parameters": learnt, "train_macs": train}


def _multiply_adds(compute: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops() / 2
