"""DELTA's channel attention: the softmax of how much the loss rises without a filter (Li et al., ICLR 2019)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cotune_bench.data.target import TargetData
from cotune_bench.methods.delta_ablation import filter_importance
from cotune_bench.methods.source_features import identity, source_features
from cotune_bench.storage.cache import Cache

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


def attention_of(
    trunk: nn.Module,
    layers: Sequence[str],
    data: TargetData,
    cache: Cache,
    *,
    weights_id: str,
    max_images: int,
    batch_size: int,
) -> list[Tensor]:
    """Channel attention of the named layers on at most ``max_images`` plain training images, drawn once for all.

    Cached by data, sample, network, layers and number of images; the training seed plays no part.
    """
    inputs = {
        "data": data.fingerprint,
        "network": identity(trunk, data, weights_id=weights_id),
        "layers": list(layers),
        "images": max_images,
        "batch": batch_size,
        "version": 4,
    }

    def compute() -> dict[str, np.ndarray]:
        features = source_features(trunk, data.plain, data, cache, weights_id=weights_id)
        labels = torch.from_numpy(data.plain.labels).to(features.device)
        head = fit_head(features, labels, len(data.classes), seed=0)
        chosen = np.random.default_rng(0).permutation(len(labels))[:max_images]
        images = data.plain.take(chosen)[:, 0]
        rises = filter_importance(trunk, head, layers, images, labels[chosen], batch_size=batch_size)
        return {f"layer{number}": rise.cpu().numpy() for number, rise in enumerate(rises)}

    arrays = cache.get("delta-importance", inputs, compute)
    rises = [torch.from_numpy(arrays[f"layer{number}"]) for number in range(len(layers))]
    return channel_attention(rises)
