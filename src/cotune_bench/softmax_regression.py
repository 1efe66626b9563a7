"""Multinomial logistic regression without intercept, solved to convergence for a whole grid of penalties."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Array = NDArray[np.floating]
MAX_STEPS = 100
MAX_DIRECTIONS = 500  # conjugate directions of one Newton step
FORCING = 0.03  # residual of a Newton step: smaller saves losses in float64, larger saves products in float32


@dataclass(frozen=True)
class Fit:
    """Weights (K, S), the Newton steps they took, and the largest gradient entry of the mean loss there."""

    weights: Array
    steps: int
    gradient_norm: float


class SoftmaxRegression:
    """Minimises sum_i CE(W x_i, y_i) + ||W||^2 / (2C) over W (K, S), features (N, S) float64, labels (N,).

    Newton's method: the gradient and the line search are in float64, the inner conjugate gradients in float32,
    since they only have to point the way.
    """

    def __init__(self, features: Array, labels: NDArray[np.intp], num_classes: int) -> None:
        self.features = features
        self.labels = labels
        self.num_classes = num_classes
        self.narrow = features.astype(np.float32)
        self.squares = self.narrow**2
        self.samples = np.arange(len(labels))

    def path(self, grid: Sequence[float], tolerance: float) -> dict[float, Fit]:
        """The fit of every C, from the smallest up, each started where the last two C point in log C."""
        fits: dict[float, Fit] = {}
        for C in sorted(set(grid)):
            fits[C] = self.fit(C, self._forecast(C, fits), tolerance)
        return fits

    def _forecast(self, C: float, fits: dict[float, Fit]) -> Array:
        if not fits:
            return np.zeros((self.num_classes, self.features.shape[1]))
        *_, last = fits
        if len(fits) == 1:
            return fits[last].weights
        *_, before, last = fits
        stretch = np.log(C / last) / np.log(last / before)
        return fits[last].weights + stretch * (fits[last].weights - fits[before].weights)

    def fit(self, C: float, start: Array, tolerance: float) -> Fit:
        """Newton's method from start until no entry of the gradient of the mean loss exceeds the tolerance."""
        weights = start
        loss, gradient, probabilities = self.evaluate(weights, C)
        for step in range(MAX_STEPS + 1):
            norm = float(abs(gradient).max()) / len(self.labels)
            if norm <= tolerance:
                return Fit(weights, step, norm)
            direction = self._newton_direction(gradient, probabilities, C)
            slope = float((gradient * direction).sum())
            size = 1.0
            while size > 1e-9:
                trial = self.evaluate(weights + size * direction, C)
                # near the minimum the decrease is below the rounding of the loss itself
                if trial[0] <= loss + 1e-4 * size * slope + 1e-12 * abs(loss):
                    break
                size /= 2
            else:
                break
            weights = weights + size * direction
            loss, gradient, probabilities = trial
        log.warning("softmax regression with C=%g stopped at gradient %.1e, above %.1e", C, norm, tolerance)
        return Fit(weights, step, norm)

    def evaluate(self, weights: Array, C: float) -> tuple[float, Array, Array]:
        """Loss (a sum over samples), its gradient (K, S) and the class probabilities (N, K)."""
        logits = self.features @ weights.T
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[self.samples, self.labels]
        probabilities = np.exp(logits, out=logits)
        total = probabilities.sum(axis=1, keepdims=True)
        probabilities /= total
        loss = float(np.log(total).sum() - own.sum() + (weights**2).sum() / (2 * C))
        residual = probabilities.copy()
        residual[self.samples, self.labels] -= 1
        return loss, residual.T @ self.features + weights / C, probabilities

    def _newton_direction(self, gradient: Array, probabilities: Array, C: float) -> Array:
        """About -H^-1 gradient, by preconditioned conjugate gradients in float32."""
        p, ridge = probabilities.astype(np.float32), np.float32(1 / C)
        precondition = self._preconditioner(p, ridge)
        scale = abs(gradient).max()  # keeps float32 away from its smallest numbers
        residual = (-gradient / scale).astype(np.float32)
        result = np.zeros_like(residual)
        guess = precondition(residual)
        direction, size = guess, _dot(residual, guess)
        target = FORCING**2 * size
        for _ in range(MAX_DIRECTIONS):
            change = p * (self.narrow @ direction.T)
            change -= p * change.sum(axis=1, keepdims=True)
            product = change.T @ self.narrow + ridge * direction
            length = np.float32(size / _dot(direction, product))
            result += length * direction
            residual -= length * product
            guess = precondition(residual)
            last, size = size, _dot(residual, guess)
            if size <= target:
                break
            direction = guess + np.float32(size / last) * direction
        result = result.astype(np.float64) * scale
        # a constant per feature changes no probability and only costs penalty: float32 lets it drift
        return result - result.mean(axis=0)

    def _preconditioner(self, p: Array, ridge: np.float32) -> Callable[[Array], Array]:
        """Inverse of one K x K block per feature: the Hessian's exact diagonal d, coupled as a graph Laplacian.

        Like those of the Hessian, the rows of diag(d + d^2 / sum d) - d d^T / sum d sum to 0 over the classes.
        """
        tiny = np.finfo(np.float32).tiny
        d = (p * (1 - p)).T @ self.squares
        total = d.sum(axis=0) + tiny
        inverse = 1 / (d + d * (d / total) + ridge)
        u = inverse * d
        gain = u / np.maximum(total - (d * u).sum(axis=0), tiny)
        return lambda r: inverse * r + gain * (u * r).sum(axis=0)


def _dot(a: Array, b: Array) -> float:
    return float(np.vdot(a, b))
