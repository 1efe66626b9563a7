"""What is asked of an input: how batches are made, which head answers, its loss on labels and its metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class Batch:
    """One training batch, on the device of the network.

    Attributes:
        inputs: what the network sees, images (B, C, h, w).
        labels: (B,) int64.
        index: (B,) int64, positions among the training images; None where a batch has no data set.
        views: further augmented views (B, C, h, w) of the same images, for methods whose ``train_views`` is above 1.
        shares: (B, K) of the classes in each input where the protocol mixes images, else None; ``labels`` are those
            of the first of two images.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor | None = None
    views: tuple[Tensor, ...] = ()
    shares: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        """What a loss on labels takes: labels (B,), or shares (B, K) of mixed images."""
        return self.labels if self.shares is None else self.shares


@dataclass(frozen=True)
class Classification:
    """One of K classes for every input: a linear head, cross-entropy, top-1 accuracy.

    Args:
        num_classes: K.
        label_smoothing: share of each label that the loss spreads evenly over all classes.
    """

    num_classes: int
    label_smoothing: float = 0.0

    #: The metric that tables show and that methods are compared by.
    primary: ClassVar[str] = "accuracy"

    def collate(self, views: Sequence[Tensor], labels: Tensor, index: Tensor) -> Batch:
        """The batch of one or more views, each (B, C, h, w), of the inputs with these labels (B,)."""
        return Batch(views[0], labels, index, tuple(views[1:]))

    def head(self, width: int) -> nn.Linear:
        """A new head from features (B, width) to logits (B, K), in torch's default initialisation."""
        return nn.Linear(width, self.num_classes)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of logits (B, K) and labels (B,) or shares of classes (B, K)."""
        return cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def correct(self, outputs: Tensor, labels: Tensor) -> np.ndarray:
        """(N,) bool: which inputs have their largest logit, of (N, K), at their label (N,)."""
        return (outputs.argmax(dim=1) == labels).numpy()

    def metrics(self, outputs: Tensor, labels: Tensor) -> dict[str, float]:
        """Top-1 ``accuracy`` in percent, and ``nll``, the mean negative log-likelihood, of logits (N, K)."""
        return {
            "accuracy": 100 * int(self.correct(outputs, labels).sum()) / len(labels),
            "nll": cross_entropy(outputs, labels).item(),
        }
