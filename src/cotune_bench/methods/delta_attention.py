"""DELTA's channel attention: the softmax of how much the loss rises without a filter (Li et al., ICLR 2019)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cotune_bench.backbones.base import evaluating

HEAD_EPOCHS = 10
HEAD_LR = 0.01
HEAD_DECAY = 0.1 ** (1 / 6)  # a factor of 0.1 in 6 epochs, as in the authors' code
HEAD_BATCH = 64
TEMPERATURE = 5.0  # of the softmax over standardised importances, as in the authors' code


def channel_attention(importance: Sequence[Tensor]) -> list[Tensor]:
    """Per layer (C,) weights that sum to 1: softmax of the standardised importances at temperature 5.

    Where all importances are equal, the weights are uniform.
    """
    attention = []
    for rises in importance:
        spread = rises.std(correction=0)
        standardised = (rises - rises.mean()) / torch.where(spread > 0, spread, torch.ones_like(spread))
        attention.append(torch.softmax(standardised / TEMPERATURE, dim=0))
    return attention


def fit_head(features: Tensor, labels: Tensor, num_classes: int, *, seed: int) -> nn.Linear:
    """A linear head (width -> K) trained on fixed features (N, width): 10 epochs of SGD at a decaying rate."""
    with torch.random.fork_rng(devices=[]):  # the head is drawn on the host, wherever the features are
        torch.manual_seed(seed)
        head = nn.Linear(features.shape[1], num_classes).to(features)
    optimizer = torch.optim.SGD(head.parameters(), lr=HEAD_LR, momentum=0.9, weight_decay=1e-4)
    rng = np.random.default_rng(seed)
    for epoch in range(HEAD_EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = HEAD_LR * HEAD_DECAY**epoch
        order = torch.from_numpy(rng.permutation(len(features))).to(features.device)
        for chosen in order.split(HEAD_BATCH):
            optimizer.zero_grad()
            cross_entropy(head(features[chosen]), labels[chosen]).backward()
            optimizer.step()
    return head


def filter_importance(
    model: nn.Module,
    head: nn.Module,
    layers: Sequence[str],
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int | None = None,
) -> list[Tensor]:
    """For each named convolution of C filters, (C,) rises of the mean cross-entropy when one filter is zeroed.

    Everything runs in evaluation mode. Zeroing a filter is not the same as silencing its channel where batch
    normalisation follows, which then emits a constant (DELTA, Li et al., ICLR 2019).

    Args:
        model: from images (N, C, H, W) to features; where it is built of ``nn.Sequential``, only what follows the
            layer runs once for each filter.
        head: from features to logits (N, K).
        layers: names of convolutions without bias inside ``model``.
        labels: (N,) in 0..K-1.
        batch_size: images in one forward pass, all of them by default; the mean is over images.
    """
    size = batch_size or len(images)
    importance = []
    with evaluating(model, head):
        for layer in layers:
            weight = model.get_submodule(layer).get_parameter("weight")
            before, after = split_at(model, layer)
            rises = torch.zeros(len(weight), dtype=images.dtype, device=images.device)
            for batch, target in zip(images.split(size), labels.split(size), strict=True):
                rises += _rises(after, head, weight, before(batch), target) * (len(batch) / len(images))
            importance.append(rises)
    return importance


def split_at(model: nn.Module, layer: str) -> tuple[nn.Sequential, nn.Sequential]:
    """The model as (before, after) around ``layer``, which is in ``after``; exact, at the borders of Sequentials."""
    before: list[nn.Module] = []
    after: list[nn.Module] = []
    path = layer.split(".")
    while isinstance(model, nn.Sequential) and path:
        children = list(model.named_children())
        place = [name for name, _ in children].index(path.pop(0))
        before += [child for _, child in children[:place]]
        after = [child for _, child in children[place + 1 :]] + after
        model = children[place][1]
    return nn.Sequential(*before), nn.Sequential(model, *after)


def _rises(after: nn.Sequential, head: nn.Module, weight: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """(C,) rises of the mean loss without filter j; the first module of ``after`` holds the filters.

    Where output channel j of that module depends on filter j alone, as behind the last convolution of a residual
    block, the module runs with all filters and with none, and channels are exchanged; otherwise once for each filter.
    """
    block, rest = after[0], nn.Sequential(*after[1:], head)
    intact = block(inputs)
    with _without(weight, slice(None)):
        silent = block(inputs)
    exchanged = len(weight) == intact.shape[1]
    if exchanged:  # a channel that depends on other filters changes when half of the filters are zeroed
        gone = torch.randperm(len(weight), generator=torch.Generator().manual_seed(0))[: len(weight) // 2]
        expected = intact.clone()
        expected[:, gone] = silent[:, gone]
        with _without(weight, gone):
            exchanged = torch.allclose(block(inputs), expected)
    losses = [cross_entropy(rest(intact.clone()), labels)]  # a copy, as a module of rest may work in place
    for number in range(len(weight)):
        if exchanged:
            maps = intact.clone()
            maps[:, number] = silent[:, number]
        else:
            with _without(weight, number):
                maps = block(inputs)
        losses.append(cross_entropy(rest(maps), labels))
    return torch.stack(losses[1:]) - losses[0]


@contextmanager
def _without(weight: Tensor, filters: int | slice | Tensor) -> Iterator[None]:
    kept = weight[filters].clone()
    weight[filters] = 0
    try:
        yield
    finally:
        weight[filters] = kept
