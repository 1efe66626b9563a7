"""A network on images: logits, and how many of them are right."""

import numpy as np
import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import evaluating
from cotune_bench.backbones.precision import arithmetic
from cotune_bench.data.target import Views


def evaluate(network: nn.Module, images: Views) -> tuple[dict[str, float], np.ndarray]:
    """Scores of logits summed over the views of each image, and which images are classified correctly.

    Returns:
        top-1 ``accuracy`` in percent and ``nll``, the mean negative log-likelihood; (N,) bool in the images' order.
    """
    logits = predict(network, images)
    labels = torch.from_numpy(images.labels)
    correct = logits.argmax(dim=1) == labels
    scores = {
        "accuracy": 100 * correct.sum().item() / len(labels),
        "nll": torch.nn.functional.cross_entropy(logits, labels).item(),
    }
    return scores, correct.numpy()


def predict(network: nn.Module, images: Views) -> Tensor:
    """Logits (N, K) on the host, summed over each image's views, in evaluation mode."""
    with evaluating(network), arithmetic(getattr(network, "precision", "fp32")):
        summed: list[Tensor] = []
        for views in images:
            logits = network(views.flatten(0, 1)).float()
            summed.append(logits.view(*views.shape[:2], -1).sum(dim=1))
            if len(summed) > 1:
                summed[-2] = summed[-2].cpu()  # a GPU is at one batch while the host makes the next
    return torch.cat([one.cpu() for one in summed])
