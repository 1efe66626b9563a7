"""Scores of how well a pre-trained network's features suit target labels, without any training, in numpy."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]


def nce(source_labels: ArrayLike, labels: ArrayLike) -> float:
    """Negative conditional entropy -H(target label | source label) of (N,) labels each (Tran et al., ICCV 2019)."""
    source, target = np.asarray(source_labels), np.asarray(labels)
    joint = np.zeros((source.max() + 1, target.max() + 1))
    np.add.at(joint, (source, target), 1 / len(source))
    given = joint / np.maximum(joint.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return float((joint[joint > 0] * np.log(given[joint > 0])).sum())


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean log-likelihood of labels (N,) under sum_s p(y | s) p(s | x), p(s | x) being (N, S) (Nguyen et al., 2020).

    The empirical p(y | s) comes from the same images.
    """
    source, target = np.asarray(probabilities, dtype=float), np.asarray(labels)
    joint = np.zeros((target.max() + 1, source.shape[1]))
    np.add.at(joint, target, source / len(source))
    given = joint / np.maximum(joint.sum(axis=0), np.finfo(float).tiny)
    return float(np.log((source @ given.T)[np.arange(len(target)), target]).mean())


def h_score(features: ArrayLike, labels: ArrayLike) -> float:
    """Trace of cov(f)^+ cov(E[f | y]) of features (N, D) and labels (N,) (Bao et al., ICIP 2019)."""
    f, y = np.asarray(features, dtype=float), np.asarray(labels)
    f = f - f.mean(axis=0)
    means = np.zeros_like(f)
    for label in np.unique(y):
        means[y == label] = f[y == label].mean(axis=0)
    return float(np.trace(np.linalg.pinv(f.T @ f / len(f), rcond=1e-10, hermitian=True) @ (means.T @ means / len(f))))


def log_evidence(features: ArrayLike, targets: ArrayLike, *, steps: int = 1000, tolerance: float = 1e-10) -> float:
    """Largest log p(y | F, alpha, beta) / N of targets (N,) under a Bayesian linear model on features (N, D).

    Weights have the prior N(0, 1 / alpha), noise has the variance 1 / beta; both are found by MacKay's fixed point,
    as in LogME (You et al., ICML 2021).
    """
    f, y = np.asarray(features, dtype=float), np.asarray(targets, dtype=float)
    n, d = f.shape
    u, s, _ = np.linalg.svd(f, full_matrices=False)
    s2, z = s**2, u.T @ y
    outside = max(float(y @ y - z @ z), 0.0)
    alpha = beta = 1.0

    def state() -> tuple[float, float]:
        """Squared norm of the posterior mean, and of the residuals."""
        shrunk = alpha / (alpha + beta * s2)
        mean2 = float(np.sum((beta * s * z / (alpha + beta * s2)) ** 2))
        return mean2, float(np.sum((shrunk * z) ** 2)) + outside

    def value() -> float:
        mean2, residual = state()
        determinant = np.log(alpha + beta * s2).sum() + (d - len(s)) * np.log(alpha)
        fit = n * np.log(beta) + d * np.log(alpha) - n * np.log(2 * np.pi) - determinant
        return float(fit - beta * residual - alpha * mean2) / (2 * n)

    best = value()
    for _ in range(steps):
        gamma = float(np.sum(beta * s2 / (alpha + beta * s2)))
        mean2, residual = state()
        alpha = min(gamma / max(mean2, 1e-12), 1e12)
        beta = min((n - gamma) / max(residual, 1e-12), 1e12)
        previous, best = best, value()
        if abs(best - previous) <= tolerance * max(1.0, abs(best)):
            break
    return best


def logme(features: ArrayLike, labels: ArrayLike) -> float:
    """LogME: mean over classes of the log evidence of one-hot labels, for features (N, D) and labels (N,)."""
    y = np.asarray(labels)
    return float(np.mean([log_evidence(features, y == label) for label in np.unique(y)]))
