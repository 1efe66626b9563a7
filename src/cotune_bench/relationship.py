"""How source classes relate to target classes: p(source class | target class), learnt from probabilities."""

import logging

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special
from scipy.optimize import brentq

from cotune_bench.errors import UserError

log = logging.getLogger(__name__)

Array = NDArray[np.floating]
SCALES = (1e-6, 1e3)  # where 1/t is looked for


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Array:
    """Softmax of logits / temperature over the last axis, computed in float64, dtype kept."""
    if not (np.isfinite(temperature) and temperature > 0):
        raise UserError(f"temperature is {temperature}: give a finite number above 0")
    logits, dtype = _floats("logits", logits)
    return special.softmax(logits / temperature, axis=-1).astype(dtype)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Temperature t > 0 of least mean cross-entropy of softmax(logits / t), logits (N, K), labels (N,).

    The loss is convex in 1/t, which is looked for in [1e-6, 1e3]. An optimum outside (all right: t -> 0; no
    signal: t -> infinity) gives the bound, and a warning is logged (temperature scaling, Guo et al., 2017).
    """
    logits, _ = _matrix("logits", logits)
    labels = _class_labels("labels", labels, len(logits), logits.shape[1])
    # relative to the true logit, so that an all-right batch has a slope of one sign without cancellation
    margins = logits - logits[np.arange(len(labels)), labels][:, None]

    def slope(log_scale: float) -> float:
        return float((special.softmax(np.exp(log_scale) * margins, axis=1) * margins).sum(axis=1).mean())

    low, high = np.log(SCALES)
    if slope(low) >= 0:
        log.warning("calibration is degenerate: flatter is always better, temperature set to %g", 1 / SCALES[0])
        return 1 / SCALES[0]
    if slope(high) <= 0:
        log.warning("calibration is degenerate: sharper is always better, temperature set to %g", 1 / SCALES[1])
        return 1 / SCALES[1]
    return float(np.exp(-brentq(slope, low, high, xtol=1e-12, rtol=1e-14)))  # pyright: ignore


def category_relationship(pretrain_prob: ArrayLike, target_labels: ArrayLike) -> Array:
    """Mean probabilities per target class: (N, N_p) and labels 0..N_t-1 give (N_t, N_p), N_t = max label + 1.

    Co-Tuning (You et al., NeurIPS 2020), direct approach; a class without samples raises UserError.
    """
    probabilities, dtype = _matrix("pretrain_prob", pretrain_prob)
    labels = _class_labels("target_labels", target_labels, len(probabilities))
    counts = np.bincount(labels)
    if not counts.all():
        raise UserError(
            f"target_labels has no sample of class {counts.argmin()}: "
            "relabel to 0..N_t-1 or use direct_relationship with num_classes"
        )
    return _class_means(probabilities, labels, counts).astype(dtype)


def direct_relationship(probabilities: ArrayLike, labels: ArrayLike, num_classes: int) -> Array:
    """Mean source probabilities per target class: (N, S) and labels (N,) give (num_classes, S), summing to 1.

    Co-Tuning (You et al., NeurIPS 2020). A class without samples gets the mean over all samples, and a
    warning is logged.
    """
    probabilities, dtype = _probabilities("probabilities", probabilities)
    labels = _class_labels("labels", labels, len(probabilities), _class_count(num_classes))
    counts = np.bincount(labels, minlength=num_classes)
    means = _class_means(probabilities, labels, counts)
    absent = np.flatnonzero(counts == 0)
    if absent.size:
        log.warning("no sample of classes %s: their rows are the mean over all samples", absent.tolist())
        means[absent] = probabilities.mean(axis=0)
    return means.astype(dtype)


def _class_means(values: Array, labels: NDArray[np.intp], counts: NDArray[np.intp]) -> Array:
    ones = np.ones(len(labels))
    members = sparse.csr_array((ones, (labels, np.arange(len(labels)))), shape=(len(counts), len(labels)))
    return (members @ values) / np.maximum(counts, 1)[:, None]


def _floats(name: str, values: ArrayLike) -> tuple[Array, np.dtype]:
    """The values in float64, and the float type in which results go back."""
    array = np.asarray(values)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise UserError(f"{name} has type {array.dtype}: give real numbers")
    wide = array.astype(np.float64)
    if not np.isfinite(wide).all():
        raise UserError(f"{name} has values that are not finite: remove NaN and infinity")
    return wide, array.dtype if np.issubdtype(array.dtype, np.floating) else wide.dtype


def _matrix(name: str, values: ArrayLike) -> tuple[Array, np.dtype]:
    array, dtype = _floats(name, values)
    if array.ndim != 2 or not array.size:
        raise UserError(f"{name} has shape {array.shape}: give a matrix of one row per sample")
    return array, dtype


def _probabilities(name: str, values: ArrayLike) -> tuple[Array, np.dtype]:
    array, dtype = _matrix(name, values)
    if array.min() < 0 or abs(array.sum(axis=1) - 1).max() > 1e-2:
        raise UserError(f"{name} has rows that are not probabilities: apply softmax to the logits first")
    return array, dtype


def _class_count(num_classes: int) -> int:
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer) or num_classes < 1:
        raise UserError(f"num_classes is {num_classes!r}: give an integer of at least 1")
    return int(num_classes)


def _class_labels(name: str, labels: ArrayLike, count: int, num_classes: int | None = None) -> NDArray[np.intp]:
    array = np.asarray(labels)
    if array.shape != (count,):
        raise UserError(f"{name} has shape {array.shape}: give one label for each of the {count} samples")
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{name} has type {array.dtype}: give integer class numbers")
    if array.min() < 0 or (num_classes is not None and array.max() >= num_classes):
        top = "" if num_classes is None else f"..{num_classes - 1}"
        raise UserError(f"{name} has values from {array.min()} to {array.max()}: labels run from 0{top}")
    return array.astype(np.intp)
