"""How much the loss rises when a filter of a convolution is taken away: exact, without one full pass per filter."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cotune_bench.backbones.base import evaluating

PROBED = 8  # images on which a part is found to keep its channels apart
FILTERS = 256  # whose logits are in memory at once


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
            apart = _channels_apart(after, weight, before(images[: min(size, PROBED)]))
            near, far = after[:apart], nn.Sequential(*after[apart:], head)
            rises = torch.zeros(len(weight), dtype=images.dtype, device=images.device)
            for batch, target in zip(images.split(size), labels.split(size), strict=True):
                inputs = before(batch)
                losses = _losses_without(near, far, weight, inputs, target)
                rises += (losses - cross_entropy(far(near(inputs)), target)) * (len(batch) / len(images))
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


def _channels_apart(after: nn.Sequential, weight: Tensor, inputs: Tensor) -> int:
    """How many modules of ``after`` map filter j to their output channel j alone: all, the first, or 0."""
    return next((count for count in (len(after), 1) if _keeps_channels(after[:count], weight, inputs)), 0)


def _keeps_channels(part: nn.Module, weight: Tensor, inputs: Tensor) -> bool:
    """Whether no output channel depends on another channel's filter, by taking filters away on these inputs.

    The filters whose number has some bit set, or not set, go together: of any two filters one goes without the
    other both ways, so a channel that listens to another's filter gives itself away.
    """
    intact, silent = _with_and_without(part, weight, inputs)
    if intact.ndim < 2 or intact.shape[1] != len(weight):
        return False
    numbers = torch.arange(len(weight), device=weight.device)
    for bit in range((len(weight) - 1).bit_length()):
        for value in (0, 1):
            gone = (numbers >> bit) & 1 == value
            expected = torch.where(gone.view(-1, *[1] * (intact.ndim - 2)), silent, intact)
            with _without(weight, gone):
                if not torch.equal(part(inputs), expected):
                    return False
    return True


def _losses_without(
    near: nn.Sequential, far: nn.Sequential, weight: Tensor, inputs: Tensor, labels: Tensor
) -> Tensor:
    """(C,) mean losses of ``far(near(inputs))`` without filter j; ``near`` keeps channels apart, or is empty."""
    losses = torch.empty(len(weight), dtype=inputs.dtype, device=inputs.device)
    if not len(near):
        for number in range(len(weight)):
            with _without(weight, number):
                losses[number] = cross_entropy(far(inputs), labels)
        return losses
    intact, silent = _with_and_without(near, weight, inputs)
    if len(far) == 1 and isinstance(head := far[0], nn.Linear):
        return _losses_of_features(intact, silent, head, labels)
    for number in range(len(weight)):
        maps = intact.clone()  # a module of far may work in place
        maps[:, number] = silent[:, number]
        losses[number] = cross_entropy(far(maps), labels)
    return losses


def _losses_of_features(intact: Tensor, silent: Tensor, head: nn.Linear, labels: Tensor) -> Tensor:
    """(C,) mean losses when feature j of ``intact`` (B, C) is that of ``silent``: logits move along a column of W."""
    logits, changes = head(intact), (silent - intact).T
    losses = []
    for change, column in zip(changes.split(FILTERS), head.weight.T.split(FILTERS), strict=True):
        moved = logits + change[:, :, None] * column[:, None, :]  # (filters, B, K)
        each = cross_entropy(moved.flatten(0, 1), labels.repeat(len(change)), reduction="none")
        losses.append(each.view(len(change), -1).mean(dim=1))
    return torch.cat(losses)


def _with_and_without(part: nn.Module, weight: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs with all filters and with none."""
    intact = part(inputs)
    with _without(weight, slice(None)):
        return intact, part(inputs)


@contextmanager
def _without(weight: Tensor, filters: int | slice | Tensor) -> Iterator[None]:
    kept = weight[filters].clone()
    weight[filters] = 0
    try:
        yield
    finally:
        weight[filters] = kept
