"""What the untrained trunk sees in the training images: computed once for all methods, rates and seeds."""

import re

import numpy as np
import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import evaluating
from cotune_bench.data.target import TargetData, Views
from cotune_bench.storage.cache import Arrays, Cache


def identity(trunk: nn.Module, data: TargetData, *, weights_id: str) -> dict[str, object]:
    """What defines what a trunk sees in an image, beside the image: for keys of the cache.

    Weights are not enough: networks of other activations share them, and images may be normalised otherwise.
    """
    normalize = data.known.normalize
    return {
        "weights": weights_id,
        "layers": re.sub(r"\bat 0x[0-9a-f]+", "", str(trunk)),  # functions among them print their address
        "scale": normalize.scale.tolist(),
        "shift": normalize.shift.tolist(),
        "crop": data.known.crop,
    }


def source_features(trunk: nn.Module, part: Views, data: TargetData, cache: Cache, *, weights_id: str) -> Tensor:
    """Features (n, width) in float32, on the trunk's device, of the training or validation images ``part``.

    The trunk, in evaluation mode, sees one centre view of every image that the data set has for training and
    validation, always in the same batches: no bit depends on which rate came first.
    """
    known = data.known.images
    network = identity(trunk, data, weights_id=weights_id)
    inputs = {"content": data.content, "images": known.fingerprint(), "network": network, "version": 2}

    def compute() -> Arrays:
        with evaluating(trunk):  # forward: one pass is not worth a compilation
            return {"features": torch.cat([trunk.forward(views[:, 0]).cpu() for views in data.known]).numpy()}

    features = cache.get("source-features", inputs, compute)["features"]
    order = np.argsort(known.index)
    rows = order[np.searchsorted(known.index, part.images.index, sorter=order)]
    return torch.from_numpy(features[rows]).to(next(trunk.parameters()).device)
