"""What each penalty C of a grid is worth on samples that its softmax regression has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from cotune_bench.softmax_regression import Array, SoftmaxRegression

FOLDS = 5
# Largest gradient entry of the mean loss. Ten times as much changed up to 2 of 1200 validation predictions.
RANKING = 1e-7

Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Trial:
    """The fits with one C.

    Attributes:
        logits: (N, K), of held-out samples.
        weights: (K, S), of the last fit.
        steps: the most of all fits.
        gradient_norm: the largest gradient entry of the mean loss, of all fits.
    """

    logits: Array
    weights: Array
    steps: int
    gradient_norm: float


def validated(
    samples: Array, labels: Labels, held_out: Array, num_classes: int, grid: Sequence[float]
) -> dict[float, Trial]:
    """For every C the fit on samples (M, S), and the logits of those that are held out (N, S)."""
    fits = SoftmaxRegression(samples, labels, num_classes).path(grid, RANKING)
    return {C: Trial(held_out @ fit.weights.T, fit.weights, fit.steps, fit.gradient_norm) for C, fit in fits.items()}


def cross_validated(samples: Array, labels: Labels, num_classes: int, grid: Sequence[float]) -> dict[float, Trial]:
    """For every C the logits of all samples (N, S), each by a fit without the sample's fold."""
    fold = folds(labels)
    logits = {C: np.empty((len(samples), num_classes)) for C in grid}
    trials: dict[float, list[Trial]] = {C: [] for C in grid}
    for number in np.unique(fold):
        out = fold == number
        found = validated(samples[~out], labels[~out], samples[out], num_classes, grid)
        for C, trial in found.items():
            logits[C][out] = trial.logits
            trials[C].append(trial)
    return {
        C: Trial(
            logits[C],
            trials[C][-1].weights,
            max(trial.steps for trial in trials[C]),
            max(trial.gradient_norm for trial in trials[C]),
        )
        for C in logits
    }


def folds(labels: Labels) -> Labels:
    """The fold (N,) of each sample: the samples of a class take the folds in turn, as does the next class."""
    result = np.empty(len(labels), np.intp)
    result[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS
    return result


def accuracy(logits: Array, labels: Labels) -> float:
    """Share of right answers of logits (N, K)."""
    return float((logits.argmax(axis=1) == labels).mean())


def log_likelihood(logits: Array, labels: Labels) -> float:
    """Mean log-likelihood of logits (N, K)."""
    return float(log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
