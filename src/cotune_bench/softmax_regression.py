"""Multinomial logistic regression without intercept, solved to convergence for a whole grid of penalties."""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import saxpy  # pyright: ignore[reportAttributeAccessIssue]

log = logging.getLogger(__name__)

Array = NDArray[np.floating]
Pairs = deque[tuple[Array, Array]]
PARTS = 4  # into which the samples are cut, however many threads there are: sums depend on it in their last bits
MAX_STEPS = 1000
MAX_TRIALS = 20  # of one line search; nearly always the first is taken
MEMORY = 25  # pairs of the quasi-Newton matrix
NARROW = 1e-7  # gradient entry of the mean loss down to which logits and gradient in float32 are exact enough
CARRIED = 1e-3  # of a gradient in float64 is left after float32 steps, before it is computed anew


@dataclass(frozen=True)
class Fit:
    """Weights (K, S), the steps they took, and the largest gradient entry of the mean loss there."""

    weights: Array
    steps: int
    gradient_norm: float


class SoftmaxRegression:
    """Minimises sum_i CE(W x_i, y_i) + ||W||^2 / (2C) over W (K, S), features (N, S) float64, labels (N,).

    L-BFGS whose initial matrix knows the curvature at the start. A step costs two products with the features: the
    logits follow along a direction by addition, so that the line search, exact to second order, costs none.
    Newton's method needs about four times as many products, as its conjugate gradients start anew at every step.
    Products are in float32, as those of a step are only what it adds to float64 sums and shrinks as it converges;
    where a descent starts from a gradient below NARROW, the sums start from products in float64.

    Up to PARTS ``threads`` share the work on samples; those of the BLAS library are for the caller to limit to one.
    """

    def __init__(self, features: Array, labels: NDArray[np.intp], num_classes: int, threads: int = 1) -> None:
        self.features = features
        self.labels = labels
        self.num_classes = num_classes
        self.narrow = features.astype(np.float32)
        self.squares = self.narrow**2
        self.own = np.arange(len(labels)), labels
        bounds = np.linspace(0, len(labels), PARTS + 1).astype(int)
        self.parts = [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
        self.each = ThreadPoolExecutor(min(threads, PARTS)).map if threads > 1 else map

    def path(self, grid: Sequence[float], tolerance: float) -> dict[float, Fit]:
        """The fit of every C, from the smallest up, each started where the last two C point in log C.

        What the quasi-Newton matrix has learnt goes from C to C, with the other penalty's curvature.
        """
        fits: dict[float, Fit] = {}
        pairs: Pairs = deque(maxlen=MEMORY)
        for C in sorted(set(grid)):
            for _ in range(len(pairs) if fits else 0):
                step, change = pairs.popleft()
                _remember(pairs, step, change + np.float32(1 / C - 1 / max(fits)) * step)
            fits[C] = self.fit(C, self._forecast(C, fits), tolerance, pairs)
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

    def fit(self, C: float, start: Array, tolerance: float, pairs: Pairs | None = None) -> Fit:
        """Descends from start until no entry of the gradient of the mean loss exceeds the tolerance.

        ``pairs`` of steps and changes of the gradient are used, and renewed.
        """
        pairs = deque(maxlen=MEMORY) if pairs is None else pairs
        found = self._descend(self.narrow, Fit(start, 0, np.inf), C, max(tolerance, NARROW), pairs)
        moving = found.gradient_norm > tolerance
        while moving:  # a descent without a step knows its gradient in float64
            goal, before = max(tolerance, CARRIED * found.gradient_norm), found.steps
            found = self._descend(self.features, found, C, goal, pairs)
            moving = found.steps > before
        if found.gradient_norm > tolerance:
            log.warning(
                "softmax regression with C=%g stopped at gradient %.1e, above %.1e", C, found.gradient_norm, tolerance
            )
        return found

    def _descend(self, features: Array, start: Fit, C: float, tolerance: float, pairs: Pairs) -> Fit:
        """L-BFGS until the tolerance, from logits and gradient by products in the type of the features."""
        weights = _centred(start.weights)
        logits = self._logits(features, weights).astype(np.float64)
        residual = self.residual(logits, features.dtype)
        gradient = self._gradient(features, residual) + weights / C
        precondition = None
        for step in range(start.steps, MAX_STEPS + 1):
            norm = float(abs(gradient).max()) / len(self.labels)
            if norm <= tolerance or step == MAX_STEPS:
                break
            precondition = precondition or self._preconditioner(residual, 1 / C)
            direction = _centred(_direction(gradient, pairs, precondition).astype(np.float64))
            slope, bend = _dot(gradient, direction), _dot(direction, direction) / C
            moved = self._search(logits, residual, self._logits(self.narrow, direction), slope, bend)
            if moved is None:
                break
            size, logits, new = moved
            direction *= size
            turn = self._gradient(self.narrow, new - residual) + direction / C
            weights, residual, gradient = weights + direction, new, gradient + turn
            _remember(pairs, direction, turn)
        return Fit(weights, step, norm)

    def _logits(self, features: Array, weights: Array) -> Array:
        """Features times weights (N, K), in the type of the features."""
        columns = weights.T.astype(features.dtype)
        result = np.empty((len(features), self.num_classes), features.dtype)
        list(self.each(lambda rows: np.matmul(features[rows], columns, out=result[rows]), self.parts))
        return result

    def _gradient(self, features: Array, residual: Array) -> Array:
        """Residual times features (K, S), in the type of the features."""
        own = residual.astype(features.dtype, copy=False)
        return np.add.reduce(list(self.each(lambda rows: own[rows].T @ features[rows], self.parts)))

    def residual(self, logits: Array, dtype: np.dtype) -> Array:
        """Softmax of the logits (N, K) minus the one-hot labels."""
        result = np.empty(logits.shape, dtype)

        def fill(rows: slice) -> None:
            part = np.subtract(logits[rows], logits[rows].max(axis=1, keepdims=True), out=result[rows])
            np.exp(part, out=part)
            part /= part.sum(axis=1, keepdims=True)

        list(self.each(fill, self.parts))
        result[self.own] = 0
        result[self.own] = -result.sum(axis=1)  # not p - 1, which loses the digits of a sample that is all right
        return result

    def _search(
        self, logits: Array, residual: Array, change: Array, first: float, bend: float
    ) -> tuple[float, Array, Array] | None:
        """Step size, logits and residual where the slope has at most half its first size; None below rounding.

        Newton's method in one dimension, on the logits and their ``change`` (N, K) alone; ``bend`` is the penalty's
        part of the curvature. The loss is convex along a direction.
        """
        if not first < 0:
            return None
        size, low, high, slope, here = 0.0, 0.0, np.inf, first, residual
        for _ in range(MAX_TRIALS):
            newton = size - slope / (self._curvature(here, change) + bend)
            if not low < newton < high:
                newton = (low + high) / 2 if high < np.inf else 2 * low
            size = newton
            trial = logits + size * change
            here = self.residual(trial, residual.dtype)
            # summed from the change of the residual, as the terms of the slope itself cancel
            slope = first + float(_rows(here - residual, change).sum()) + size * bend
            if abs(slope) <= 0.5 * abs(first):
                return size, trial, here
            low, high = (size, high) if slope < 0 else (low, size)
        return None

    def _curvature(self, residual: Array, change: Array) -> float:
        """Sum over samples of the variance of ``change`` (N, K) under the class probabilities."""
        own = change[self.own].astype(np.float64)
        weighted = change * residual  # residual + one-hot = probabilities
        return float((_rows(weighted, change) + own**2 - (weighted.sum(axis=1) + own) ** 2).sum())

    def _preconditioner(self, residual: Array, ridge: float) -> Callable[[Array], Array]:
        """Inverse of one K x K block per feature: the Hessian's exact diagonal d, coupled as a graph Laplacian.

        Like those of the Hessian, the rows of diag(d + d^2 / sum d) - d d^T / sum d sum to 0 over the classes.
        """
        tiny = np.finfo(np.float32).tiny
        size = abs(residual).astype(np.float32)  # p, and 1 - p of the own class: p (1 - p) is the same
        d = (size * (1 - size)).T @ self.squares
        total = d.sum(axis=0) + tiny
        inverse = 1 / (d + d * (d / total) + np.float32(ridge))
        u = inverse * d
        gain = u / np.maximum(total - (d * u).sum(axis=0), tiny)
        return lambda r: inverse * r + gain * (u * r).sum(axis=0)


def _direction(gradient: Array, pairs: Pairs, precondition: Callable[[Array], Array]) -> Array:
    """Minus the gradient times the quasi-Newton inverse (two-loop recursion, Nocedal and Wright, algorithm 7.4)."""
    scale = abs(gradient).max()  # keeps float32 away from its smallest numbers
    result = np.ascontiguousarray(gradient / scale, np.float32)
    shares = []
    for step, change in reversed(pairs):
        shares.append(np.vdot(step, result))
        _add(result, -shares[-1], change)
    result = precondition(result)
    if pairs:
        result /= np.vdot(pairs[-1][1], precondition(pairs[-1][1]))
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        _add(result, share - np.vdot(change, result), step)
    return -np.float32(scale) * result


def _centred(weights: Array) -> Array:
    """Without the constant per feature, which changes no probability and only costs penalty."""
    return weights - weights.mean(axis=0)


def _remember(pairs: Pairs, step: Array, change: Array) -> None:
    """Keeps a step and the change of the gradient along it, scaled so that their product is 1."""
    product = _dot(step, change)
    if product > 0:  # always, but for rounding
        pairs.append(tuple((part / product**0.5).astype(np.float32) for part in (step, change)))


def _add(result: Array, share: float, other: Array) -> None:
    """result += share * other, of float32 in C order, without an array between."""
    saxpy(other.ravel(), result.ravel(), a=share)


def _rows(a: Array, b: Array) -> Array:
    """Products of the rows of a and b (N, K), in float64."""
    return np.einsum("ij,ij->i", a, b).astype(np.float64)


def _dot(a: Array, b: Array) -> float:
    return float(np.vdot(a, b))
