"""What a method does at every update beyond fine-tuning, alone: whole steps vary by more than most of it takes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from training import Ours

from cotune_bench.backbones.base import tap
from cotune_bench.backbones.precision import autocast
from cotune_bench.methods.bss import spectral_shrinkage
from cotune_bench.methods.cotuning import soft_cross_entropy
from cotune_bench.methods.delta import feature_map_penalty


def extra_work(name: str, side: Ours) -> Callable[[], object]:
    """Penalty and its gradient down to features, maps or weights; of a method that has made an update."""
    method: Any = side.method  # one of the four
    images, labels = side.batches[0]
    if name == "l2sp":
        return lambda: [penalty.add_gradients() for penalty in method.penalties().values()]
    if name == "delta":
        return delta(method, images)
    features = method.features(images).detach().requires_grad_()
    if name == "bss":
        return lambda: (method.weight * spectral_shrinkage(features, method.k)).backward()

    def source_term() -> None:
        logits = method.source_head(features)
        (method.trade_off * soft_cross_entropy(logits, method.relationship[labels])).backward()

    return source_term


def delta(method: Any, images: Tensor) -> Callable[[], object]:
    """The source network's pass and the penalty of maps."""
    with tap(method.trunk, method.taps) as maps, torch.no_grad():
        method.features(images)
    target = [maps[layer].detach().requires_grad_() for layer in method.taps]

    def work() -> None:
        with (
            torch.no_grad(),
            autocast(method.precision, images.device),
            tap(method.source.module, method.taps) as maps,
        ):
            method.source(images)
        penalty = feature_map_penalty([maps[layer] for layer in method.taps], target, method.attention)
        (method.alpha * penalty).backward()
        for penalty_of_weights in method.penalties().values():
            penalty_of_weights.add_gradients()

    return work
