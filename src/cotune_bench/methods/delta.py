"""DELTA: feature maps stay close to the pre-trained network's, channel by channel (Li et al., ICLR 2019)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cotune_bench.backbones.base import Backbone, Frozen, tap
from cotune_bench.backbones.precision import autocast
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Batch, Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method, Penalty, require_at_least, require_choice
from cotune_bench.methods.delta_attention import channel_attention, filter_importance, fit_head
from cotune_bench.methods.source_features import identity, source_features
from cotune_bench.parallel import own_rows, total
from cotune_bench.storage.cache import Arrays, Cache

__all__ = ["Delta", "channel_attention", "feature_map_penalty", "filter_importance"]


def feature_map_penalty(
    source_maps: Sequence[Tensor],
    target_maps: Sequence[Tensor],
    attention: Sequence[Tensor] | None = None,
    *,
    relative: bool = False,
) -> Tensor:
    """Distance of feature maps (B, C, H, W), summed over layers and batch, in at least float32 (DELTA).

    Per layer ``1/2 * C / (H * W) * sum_bc attention_c * ||target_bc - source_bc||^2`` for attention (C,) that sums to
    1, so that ``C * attention`` is about 1 for a channel; without attention plainly ``1/2 * ||target - source||^2``.

    Args:
        relative: divide each layer's distance by that of the source maps to zero, so that neither the batch nor the
            size and scale of the maps count: 1/2 a layer for target maps of zero.
    """
    layers = [None] * len(target_maps) if attention is None else attention
    terms = []
    for source, target, weights in zip(source_maps, target_maps, layers, strict=True):
        wide = torch.promote_types(target.dtype, torch.float32)
        distance = _distance(target.to(wide), source.to(wide), weights)
        terms.append(distance / _distance(source.to(wide), 0, weights) if relative else distance)
    return 0.5 * torch.stack(terms).sum()


def _distance(maps: Tensor, others: Tensor | int, attention: Tensor | None) -> Tensor:
    distances = total((maps - others).square().sum(dim=(0, 2, 3)))
    if attention is None:
        return distances.sum()
    channels, height, width = maps.shape[1:]
    return (channels / (height * width) * (attention * distances)).sum()


class Delta(Method):
    """Fine-tuning that keeps the maps of the backbone's tapped convolutions near the pre-trained ones.

    The penalty takes the place of the optimiser's weight decay. The source network sees the same augmented images
    with its running statistics, so the penalty is above 0 from the first update on.

    Args:
        regularisation: ``attention`` weights the channels of the maps, ``feature_map`` takes their plain distance.
        distance: ``published`` sums over batch and maps, so that ``alpha`` belongs to one network and batch size;
            ``relative`` divides by the size of the source maps.
        alpha: weight of the feature-map penalty.
        beta: weight of the plain L2 penalty on the new head.
        attention_batches: batches of ``attention_batch_size`` plain training images behind the channel attention.
    """

    replaces_weight_decay = True
    compilable = False  # its hooks on inner layers come and go with every update

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        regularisation: str = "attention",
        distance: str = "published",
        alpha: float = 0.01,
        beta: float = 0.01,
        attention_batches: int = 10,
        attention_batch_size: int = 32,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        if not backbone.taps:
            raise UserError(
                f"backbone {backbone.name} names no layers for DELTA to compare: list them as taps in its yaml"
            )
        require_choice("regularisation", regularisation, ("attention", "feature_map"))
        require_choice("distance", distance, ("published", "relative"))
        require_at_least(0, alpha=alpha, beta=beta)
        require_at_least(1, attention_batches=attention_batches, attention_batch_size=attention_batch_size)
        self.relative = distance == "relative"
        self.alpha = alpha
        self.beta = beta
        self.attention_images = attention_batches * attention_batch_size
        self.attention_batch_size = attention_batch_size
        self.source = Frozen(self.trunk)
        self.taps = backbone.taps
        self.weighted = self.taps if regularisation == "attention" else ()
        for number, name in enumerate(self.weighted):
            channels = len(self.trunk.get_submodule(name).get_parameter("weight"))
            self.register_buffer(f"attention{number}", torch.full((channels,), 1 / channels), persistent=False)

    @property
    def attention(self) -> list[Tensor] | None:
        """Weights (C,) of each tapped layer, None where maps are compared plainly."""
        return [self.get_buffer(f"attention{number}") for number in range(len(self.weighted))] or None

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Channel attention of the tapped layers from the training images; the same for every training seed."""
        if self.attention is None:
            return
        inputs = {
            "data": data.fingerprint,
            "network": identity(self.trunk, data, weights_id=self.weights_id),
            "layers": list(self.taps),
            "images": self.attention_images,
            "batch": self.attention_batch_size,
            "version": 4,
        }
        found = cache.get("delta-importance", inputs, lambda: self._importance(data, cache))
        rises = [torch.from_numpy(found[f"layer{number}"]) for number in range(len(self.taps))]
        for buffer, attention in zip(self.attention, channel_attention(rises), strict=True):
            buffer.copy_(attention)

    def _importance(self, data: TargetData, cache: Cache) -> Arrays:
        """Rises (C,) of the loss without each filter of the tapped layers, on images that are drawn once for all."""
        features = source_features(self.trunk, data.plain, data, cache, weights_id=self.weights_id)
        labels = torch.from_numpy(data.plain.labels).to(features.device)
        head = fit_head(features, labels, len(data.classes), seed=0)
        chosen = np.random.default_rng(0).permutation(len(labels))[: self.attention_images]
        images, size = data.plain.take(chosen)[:, 0], self.attention_batch_size
        rises = filter_importance(self.trunk, head, self.taps, images, labels[chosen], batch_size=size)
        return {f"layer{number}": rise.cpu().numpy() for number, rise in enumerate(rises)}

    def preparation(self, images: int) -> float:
        """Half a pass, the average depth behind a filter, for each filter but the last stage's, and each image."""
        if self.attention is None:
            return 0.0
        filters = sum(map(len, self.attention[:-1]))
        return images + 0.5 * filters * min(images, self.attention_images)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce`` and ``maps``, the feature-map penalty."""
        with tap(self.trunk, self.taps) as target:
            logits = self.predict(batch.inputs)
        with (
            torch.no_grad(),
            autocast(self.precision, batch.inputs.device),
            tap(self.source.module, self.taps) as source,
        ):
            self.source(own_rows(batch.inputs))
        source_maps, target_maps = ([found[name] for name in self.taps] for found in (source, target))
        penalty = feature_map_penalty(source_maps, target_maps, self.attention, relative=self.relative)
        return {"ce": self.task.loss(logits, batch.targets), "maps": self.alpha * penalty}

    def penalties(self) -> dict[str, Penalty]:
        """``head``, plain L2 of the head."""
        return {"head": Penalty(list(self.head.parameters()), None, self.beta)}
