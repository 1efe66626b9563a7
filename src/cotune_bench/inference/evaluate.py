"""A method's network on images: outputs and metrics."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from cotune_bench.backbones.base import evaluating
from cotune_bench.backbones.precision import arithmetic
from cotune_bench.data.target import Views
from cotune_bench.methods.base import Method
from cotune_bench.parallel import gathered, rank, world


def evaluate(method: Method, images: Views) -> tuple[dict[str, float], np.ndarray]:
    """The task's metrics of outputs summed over the views of each image, and (N,) bool: which images are right."""
    batches = images.batches()  # the processes of a run take turns
    parts = gathered(_outputs(method, images, method.predict, batches[rank() :: world()]))
    outputs = torch.cat([parts[number % world()][number // world()] for number in range(len(batches))])
    labels = torch.from_numpy(images.labels)
    return method.task.metrics(outputs, labels), method.task.correct(outputs, labels)


def predict(method: Method, images: Views, ask: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Outputs (N, K) on the host, summed over each image's views, in evaluation mode and the method's precision.

    Args:
        ask: gives outputs (B, K) for images (B, C, h, w) in place of the method's ``predict``.
    """
    return torch.cat(_outputs(method, images, ask or method.predict, images.batches()))


def _outputs(
    method: Method, images: Views, ask: Callable[[Tensor], Tensor], batches: Sequence[np.ndarray]
) -> list[Tensor]:
    """Outputs of each of these batches of positions."""
    with evaluating(method), arithmetic(method.precision):
        summed: list[Tensor] = []
        for views in map(images.take, batches):
            outputs = ask(views.flatten(0, 1)).float()
            summed.append(outputs.view(*views.shape[:2], -1).sum(dim=1))
            if len(summed) > 1:
                summed[-2] = summed[-2].cpu()  # a GPU is at one batch while the host makes the next
    return [one.cpu() for one in summed]
