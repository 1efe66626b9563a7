"""BSS: Batch Spectral Shrinkage (Chen et al., NeurIPS 2019) keeps small singular values of the features small."""

import torch
from torch import Tensor

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Batch, Classification
from cotune_bench.methods.base import Method, require_at_least


def spectral_shrinkage(features: Tensor, k: int) -> Tensor:
    """Sum of the k smallest of the min(B, D) squared singular values of a (B, D) batch (BSS, eq. 5).

    What the batch has in the directions of those values: the smallest eigenvectors of the smaller Gram matrix. They
    need no gradient, as an eigenvalue does not change to first order when its vector turns. In float64 all this is as
    exact as a float32 singular value decomposition and cheaper; in float32 it would lose half of the digits. The
    result has the features' dtype.
    """
    matrix = features.double()
    if len(matrix) > matrix.shape[1]:
        matrix = matrix.T
    still = matrix.detach()
    _, vectors = torch.linalg.eigh(still @ still.T)  # of ascending eigenvalues
    return (vectors[:, :k].T @ matrix).square().sum().to(features.dtype)


class BSS(Method):
    """Fine-tuning with a penalty on the smallest singular values of each batch of features.

    Args:
        weight: of the penalty (eta; 0.001 in the paper and its code).
        k: how many of the smallest singular values are penalised.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        weight: float = 1e-3,
        k: int = 1,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_at_least(0, weight=weight)
        require_at_least(1, k=k)
        self.weight = weight
        self.k = k

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce`` and ``bss``."""
        features = self.features(batch.inputs)
        return {
            "ce": self.task.loss(self.head(features), batch.targets),
            "bss": self.weight * spectral_shrinkage(features, self.k),
        }
