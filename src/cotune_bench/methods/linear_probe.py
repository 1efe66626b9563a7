"""Linear probe: the trunk stays as it is, a logistic regression on its features is the head."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cotune_bench.data.target import TargetData, Views
from cotune_bench.methods.base import Method
from cotune_bench.methods.penalty_grid import PenaltyGrid
from cotune_bench.methods.source_features import source_features
from cotune_bench.penalty_trials import accuracy, log_likelihood
from cotune_bench.storage.cache import Cache

Array = NDArray[np.floating]
TOLERANCE, STEPS = 1e-8, 10_000  # largest gradient entry of the mean loss; L-BFGS takes some hundred steps


class LinearProbe(PenaltyGrid):
    """Multinomial logistic regression on the untrained trunk's features, solved to convergence.

    The features are those of plain training images in one centre view, whatever the protocol's augmentation. Among
    values of C with equal validation accuracy, that of the least validation loss is used.
    """

    def preparation(self, images: int) -> float:
        """One pass of each image."""
        return float(images)

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Solve the regression and write it into the head."""
        solve_head(self, data, cache, self.grid, self.without_validation)


@torch.no_grad()
def solve_head(
    method: Method, data: TargetData, cache: Cache, grid: Sequence[float], without_validation: float
) -> None:
    """Write the logistic regression on the trunk's features into a method's head.

    Args:
        method: whose trunk is untrained.
        data: of the run.
        cache: of the features.
        grid: values of C; the one with the best validation accuracy, then the least validation loss, is used.
        without_validation: C where there are no validation images.
    """

    def features(part: Views) -> Array:
        found = source_features(method.trunk, part, data, cache, weights_id=method.weights_id)
        return found.double().cpu().numpy()

    train, labels = features(data.plain), data.plain.labels
    if len(data.val):
        val, truth = features(data.val), data.val.labels

        def score(solution: tuple[Array, Array]) -> tuple[float, float]:
            logits = val @ solution[0].T + solution[1]
            return accuracy(logits, truth), log_likelihood(logits, truth)

        weights, bias = max((logistic_regression(train, labels, C) for C in grid), key=score)
    else:
        weights, bias = logistic_regression(train, labels, without_validation)
    method.head.weight.copy_(torch.from_numpy(weights))
    method.head.bias.copy_(torch.from_numpy(bias))


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
