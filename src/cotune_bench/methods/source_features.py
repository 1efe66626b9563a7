"""What the untrained trunk sees in the training images: computed once for all methods, rates and seeds."""

import numpy as np
import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import evaluating
from cotune_bench.cache import Arrays, Cache
from cotune_bench.data.target import TargetData, Views


def source_features(trunk: nn.Module, part: Views, data: TargetData, cache: Cache, *, weights_id: str) -> Tensor:
    """Features (n, width) in float32, on the trunk's device, of the training or validation images ``part``.

    The trunk, in evaluation mode, sees one centre view of every image that the data set has for training and
    validation, always in the same batches: no bit hangs on which rate was asked for first.
    """
    known = data.known.images
    inputs = {
        "content": data.content,
        "images": known.fingerprint(),
        "weights": weights_id,
        "crop": data.known.crop,
        "version": 1,
    }

    def compute() -> Arrays:
        with evaluating(trunk):
            return {"features": torch.cat([trunk(views[:, 0]).cpu() for views in data.known]).numpy()}

    features = cache.get("source-features", inputs, compute)["features"]
    order = np.argsort(known.index)
    rows = order[np.searchsorted(known.index, part.images.index, sorter=order)]
    return torch.from_numpy(features[rows]).to(next(trunk.parameters()).device)
