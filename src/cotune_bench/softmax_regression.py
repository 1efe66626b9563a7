"""Multinomial logistic regression without intercept, solved to convergence for a whole grid of penalties."""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

log = logging.getLogger(__name__)

Array = NDArray[np.floating]
MAX_STEPS = 1000
MAX_TRIALS = 20  # of one line search; nearly always the first is taken
MEMORY = 25  # pairs of the quasi-Newton matrix


@dataclass(frozen=True)
class Fit:
    """Weights (K, S), the steps they took, and the largest gradient entry of the mean loss there."""

    weights: Array
    steps: int
    gradient_norm: float


class SoftmaxRegression:
    """Minimises sum_i CE(W x_i, y_i) + ||W||^2 / (2C) over W (K, S), features (N, S) float64, labels (N,).

    L-BFGS (Nocedal and Wright, algorithm 7.5) whose initial matrix is the inverse of the Hessian's diagonal at the
    start. A step costs two products with the features: the logits follow along a direction by addition, so that the
    line search costs none. Newton's method needs about four times as many products.
    """

    def __init__(self, features: Array, labels: NDArray[np.intp], num_classes: int) -> None:
        self.features = features
        self.squares = features**2
        self.one_hot = np.eye(num_classes)[labels]

    def path(self, grid: Sequence[float], tolerance: float) -> dict[float, Fit]:
        """The fit of every C, from the smallest up, each started at the one before."""
        fits: dict[float, Fit] = {}
        weights = np.zeros((self.one_hot.shape[1], self.features.shape[1]))
        for C in sorted(set(grid)):
            fits[C] = self.fit(C, weights, tolerance)
            weights = fits[C].weights
        return fits

    def fit(self, C: float, start: Array, tolerance: float) -> Fit:
        """Descends from start until no entry of the gradient of the mean loss exceeds the tolerance."""
        weights = _centred(start)
        logits = self.features @ weights.T
        probabilities = softmax(logits, axis=1)
        gradient = self._gradient(probabilities, weights, C)
        diagonal = (probabilities * (1 - probabilities)).T @ self.squares + 1 / C
        pairs: deque[tuple[Array, Array]] = deque(maxlen=MEMORY)
        for step in range(MAX_STEPS + 1):
            norm = float(abs(gradient).max()) / len(logits)
            if norm <= tolerance or step == MAX_STEPS:
                break
            direction = _centred(-_quasi_newton(gradient, pairs, diagonal))
            change = self.features @ direction.T
            bend = float(np.vdot(direction, direction)) / C
            size = _step_size(logits, probabilities, change, float(np.vdot(gradient, direction)), bend)
            if size is None:  # below rounding
                break
            before = gradient
            weights, logits = weights + size * direction, logits + size * change
            probabilities = softmax(logits, axis=1)
            gradient = self._gradient(probabilities, weights, C)
            product = np.vdot(direction, gradient - before)
            if product > 0:  # always, but for rounding
                pairs.append((direction / product**0.5, (gradient - before) / product**0.5))
        if norm > tolerance:
            log.warning("softmax regression with C=%g stopped at gradient %.1e, above %.1e", C, norm, tolerance)
        return Fit(weights, step, norm)

    def _gradient(self, probabilities: Array, weights: Array, C: float) -> Array:
        return (probabilities - self.one_hot).T @ self.features + weights / C


def _step_size(logits: Array, probabilities: Array, change: Array, first: float, bend: float) -> float | None:
    """Where the slope along a ``change`` of the logits (N, K) has at most half its ``first`` size.

    Newton's method in one dimension, kept inside the bracket that the convex loss allows; ``bend`` is the penalty's
    part of the curvature. None if rounding hides the slope.
    """
    rest = first - np.vdot(probabilities, change)  # the part of the slope that does not change with the probabilities
    size, low, high, slope = 0.0, 0.0, np.inf, first
    for _ in range(MAX_TRIALS):
        moments = probabilities * change
        newton = size - slope / (np.vdot(moments, change) - np.square(moments.sum(axis=1)).sum() + bend)
        if not low < newton < high:
            newton = (low + high) / 2 if high < np.inf else 2 * low
        size = newton
        probabilities = softmax(logits + size * change, axis=1)
        slope = np.vdot(probabilities, change) + rest + size * bend
        if abs(slope) <= 0.5 * abs(first):
            return size
        low, high = (size, high) if slope < 0 else (low, size)
    return None


def _quasi_newton(gradient: Array, pairs: deque[tuple[Array, Array]], diagonal: Array) -> Array:
    """The gradient times the approximate inverse Hessian (two-loop recursion, Nocedal and Wright, algorithm 7.4).

    ``pairs`` of a step and the change of the gradient along it are scaled so that their product is 1.
    """
    result, shares = gradient, []
    for step, change in reversed(pairs):
        shares.append(np.vdot(step, result))
        result = result - shares[-1] * change
    result = result / diagonal
    if pairs:
        result /= np.vdot(pairs[-1][1], pairs[-1][1] / diagonal)
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        result = result + (share - np.vdot(change, result)) * step
    return result


def _centred(weights: Array) -> Array:
    """Without the constant per feature, which changes no probability and only costs penalty."""
    return weights - weights.mean(axis=0)
