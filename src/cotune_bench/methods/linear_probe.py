"""Linear probe: the trunk stays as it is, a logistic regression on its features is the head."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.target import TargetData, Views
from cotune_bench.data.task import Classification
from cotune_bench.methods.base import Method, require_positive
from cotune_bench.methods.source_features import source_features
from cotune_bench.penalty_trials import accuracy, log_likelihood
from cotune_bench.storage.cache import Cache

Array = NDArray[np.floating]
TOLERANCE, STEPS = 1e-8, 10_000  # largest gradient entry of the mean loss; L-BFGS takes some hundred steps


class PenaltyGrid(Method):
    """A method that ``prepare`` solves for values of C; where that is all, the network is not trained.

    Args:
        grid: values of C, the inverse strength of the penalty; the one with the best validation accuracy is used.
        without_validation: C where the protocol holds out no validation images.
    """

    solved = True

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        grid: Sequence[float],
        without_validation: float,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_positive("grid", grid)
        require_positive("without_validation", [without_validation])
        self.requires_grad_(not self.solved)
        self.grid = tuple(grid)
        self.without_validation = without_validation


class LinearProbe(PenaltyGrid):
    """Multinomial logistic regression on the untrained trunk's features, solved to convergence.

    The features are those of plain training images in one centre view, whatever the protocol's augmentation. Among
    values of C with equal validation accuracy, that of the least validation loss is used.
    """

    def preparation(self, images: int) -> float:
        """One pass of each image."""
        return float(images)

    @torch.no_grad()
    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Solve the regression and write it into the head."""

        def features(part: Views) -> Array:
            found = source_features(self.trunk, part, data, cache, weights_id=self.weights_id)
            return found.double().cpu().numpy()

        def score(solution: tuple[Array, Array]) -> tuple[float, float]:
            logits = val @ solution[0].T + solution[1]
            return accuracy(logits, data.val.labels), log_likelihood(logits, data.val.labels)

        grid = self.grid if len(data.val) else [self.without_validation]
        train, val = features(data.plain), features(data.val)
        solutions = [logistic_regression(train, data.plain.labels, C) for C in grid]
        weights, bias = max(solutions, key=score) if len(data.val) else solutions[0]
        self.head.weight.copy_(torch.from_numpy(weights))
        self.head.bias.copy_(torch.from_numpy(bias))


def logistic_regression(features: Array, labels: NDArray[np.integer], C: float) -> tuple[Array, Array]:
    """Weights (K, D) and biases (K,) for features (N, D) and labels (N,) in 0..K-1, each of which occurs.

    They minimise the sum of cross-entropies plus ||V||^2 / (2C), V the weights of the features brought to mean 0 and
    variance 1; biases are not penalised. For two classes V is the one row of their difference.
    """
    scaler = StandardScaler().fit(features)
    fit = LogisticRegression(C=C, tol=TOLERANCE, max_iter=STEPS).fit(scaler.transform(features), labels)
    weights, bias = fit.coef_ / scaler.scale_, fit.intercept_
    if len(weights) == 1:
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return weights, bias - weights @ np.asarray(scaler.mean_)
