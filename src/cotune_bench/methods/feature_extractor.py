"""Feature extractor: the pre-trained trunk stays as it is and a new linear head is trained on its features."""

import torch
from torch import Tensor

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Batch, Classification
from cotune_bench.methods.layer_subset import LayerSubset
from cotune_bench.methods.source_features import source_features
from cotune_bench.storage.cache import Cache


class FeatureExtractor(LayerSubset):
    """Cross-entropy of a head on frozen features; they are computed once where images are not augmented."""

    cached: Tensor | None

    def __init__(
        self, backbone: Backbone, num_classes: int | Classification, *, head_init: str | None = None
    ) -> None:
        super().__init__(backbone, num_classes, (), head_init=head_init)
        self.register_buffer("cached", None, persistent=False)

    def preparation(self, images: int) -> float:
        """At most one pass of each image."""
        return float(images)

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Features of the training images, unless every update sees them differently."""
        if not data.train.augmented:
            self.cached = source_features(self.trunk, data.plain, data, cache, weights_id=self.weights_id)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce``."""
        if self.cached is None or batch.index is None:
            with torch.no_grad():
                features = self.features(batch.inputs)
        else:
            features = self.cached[batch.index]
        return {"ce": self.task.loss(self.head(features), batch.targets)}
