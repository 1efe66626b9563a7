"""How source classes relate to target classes: p(source class | target class), learnt from probabilities."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special
from scipy.optimize import brentq
from threadpoolctl import threadpool_limits

from cotune_bench.array_checks import (
    Array,
    as_class_count,
    as_class_labels,
    as_floats,
    as_matrix,
    as_penalties,
    as_probabilities,
)
from cotune_bench.errors import UserError
from cotune_bench.penalty_trials import accuracy, cross_validated, log_likelihood, validated
from cotune_bench.softmax_regression import SoftmaxRegression

log = logging.getLogger(__name__)

SCALES = (1e-6, 1e3)  # where 1/t is looked for
GRID = (1e4, 3e3, 1e3, 3e2, 1e2, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
# Largest gradient entry of the mean loss. The relationship is steep in the weights: ten times FINAL left it off by up
# to 2e-4, FINAL by up to 1.3e-5.
FINAL = 1e-10
SELECTIONS = ("accuracy", "nll", "cv")


@dataclass(frozen=True)
class ReverseFit:
    """What the reverse approach chose: C and its calibration scale 1/t.

    Per C of the grid: the accuracy on held-out samples, the solver's steps and the largest gradient entry of the mean
    loss (after the last polish for C: final); of several fits the largest. Held out are the validation samples, or
    with ``select="cv"`` every sample once: ``held_out_logits`` (N, K) are theirs before calibration,
    ``held_out_labels`` (N,) their labels.
    """

    C: float
    scale: float
    grid: tuple[float, ...]
    accuracies: tuple[float, ...]
    steps: tuple[int, ...]
    gradient_norms: tuple[float, ...]
    final_gradient_norm: float
    held_out_logits: Array
    held_out_labels: NDArray[np.intp]


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Array:
    """Softmax of logits / temperature over the last axis, computed in float64, dtype kept."""
    if not (np.isfinite(temperature) and temperature > 0):
        raise UserError(f"temperature is {temperature}: give a finite number above 0")
    logits, dtype = as_floats("logits", logits)
    return special.softmax(logits / temperature, axis=-1).astype(dtype)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Temperature t > 0 of least mean cross-entropy of softmax(logits / t), logits (N, K), labels (N,).

    The loss is convex in 1/t, which is looked for in [1e-6, 1e3]. An optimum outside (all right: t -> 0; no
    signal: t -> infinity) gives the bound, and a warning is logged (temperature scaling, Guo et al., 2017).
    """
    logits, _ = as_matrix("logits", logits)
    labels = as_class_labels("labels", labels, len(logits), logits.shape[1])
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
    probabilities, dtype = as_matrix("pretrain_prob", pretrain_prob)
    labels = as_class_labels("target_labels", target_labels, len(probabilities))
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
    probabilities, dtype = as_probabilities("probabilities", probabilities)
    labels = as_class_labels("labels", labels, len(probabilities), as_class_count(num_classes))
    counts = np.bincount(labels, minlength=num_classes)
    means = _class_means(probabilities, labels, counts)
    absent = np.flatnonzero(counts == 0)
    if absent.size:
        log.warning("no sample of classes %s: their rows are the mean over all samples", absent.tolist())
        means[absent] = probabilities.mean(axis=0)
    return means.astype(dtype)


@overload
def reverse_relationship(
    train_probabilities: ArrayLike,
    train_labels: ArrayLike,
    val_probabilities: ArrayLike,
    val_labels: ArrayLike,
    num_classes: int,
    grid: Sequence[float] = ...,
    *,
    calibrate: bool = ...,
    select: str = ...,
    return_fit: Literal[False] = ...,
) -> Array: ...


@overload
def reverse_relationship(
    train_probabilities: ArrayLike,
    train_labels: ArrayLike,
    val_probabilities: ArrayLike,
    val_labels: ArrayLike,
    num_classes: int,
    grid: Sequence[float] = ...,
    *,
    calibrate: bool = ...,
    select: str = ...,
    return_fit: Literal[True],
) -> tuple[Array, ReverseFit]: ...


def reverse_relationship(
    train_probabilities: ArrayLike,
    train_labels: ArrayLike,
    val_probabilities: ArrayLike,
    val_labels: ArrayLike,
    num_classes: int,
    grid: Sequence[float] = GRID,
    *,
    calibrate: bool = True,
    select: str = "accuracy",
    return_fit: bool = False,
) -> Array | tuple[Array, ReverseFit]:
    """p(source | target) of shape (num_classes, S), rows sum to 1, from p(target | source) by Bayes' rule.

    Softmax regression without intercept takes source probabilities (N, S) to target labels (N,) (Co-Tuning, You et
    al., NeurIPS 2020). ``select`` chooses its C from the grid: ``accuracy``, the authors' rule, has the best
    validation accuracy, ``nll`` the least validation loss; ``cv`` the best accuracy in a stratified cross-validation
    on training and validation samples together, on which it is then fitted. Ties go to the largest C. ``calibrate``
    scales the logits to least loss on the held-out samples: those for validation, or of all folds.
    Bad input raises UserError.
    """
    train, dtype = as_probabilities("train_probabilities", train_probabilities)
    val, _ = as_probabilities("val_probabilities", val_probabilities)
    if train.shape[1] != val.shape[1]:
        raise UserError(f"val_probabilities has {val.shape[1]} source classes: the training has {train.shape[1]}")
    num_classes, grid = as_class_count(num_classes), as_penalties(grid)
    labels = as_class_labels("train_labels", train_labels, len(train), num_classes)
    truth = as_class_labels("val_labels", val_labels, len(val), num_classes)
    if select not in SELECTIONS:
        raise UserError(f"select is {select!r}: choose {', '.join(SELECTIONS)}")
    everything = np.concatenate([train, val])

    with threadpool_limits(1):  # so that no bit depends on their number; many small products gain little by threads
        if select == "cv":
            train, labels = everything, np.concatenate([labels, truth])
            trials, truth = cross_validated(train, labels, num_classes, grid), labels
        else:
            trials = validated(train, labels, val, num_classes, grid)
        score = log_likelihood if select == "nll" else accuracy
        C = max(trials, key=lambda C: (score(trials[C].logits, truth), C))
        chosen = SoftmaxRegression(train, labels, num_classes).fit(C, trials[C].weights, FINAL)
    logits = trials[C].logits if select == "cv" else val @ chosen.weights.T
    scale = 1 / fit_temperature(logits, truth) if calibrate else 1.0
    result = _bayes(scale * chosen.weights, everything.mean(axis=0)).astype(dtype)
    if not return_fit:
        return result
    return result, ReverseFit(
        C=C,
        scale=scale,
        grid=grid,
        accuracies=tuple(accuracy(trials[C].logits, truth) for C in grid),
        steps=tuple(trials[C].steps for C in grid),
        gradient_norms=tuple(trials[C].gradient_norm for C in grid),
        final_gradient_norm=chosen.gradient_norm,
        held_out_logits=logits,
        held_out_labels=truth,
    )


def _bayes(logits: Array, source: Array) -> Array:
    """p(source | target) (K, S) from the logits (K, S) of a target given a source class and p(source) (S,).

    In logarithms, so that a class whose probabilities all underflow still has a row.
    """
    with np.errstate(divide="ignore"):  # a source class of probability 0 stays at 0
        joint = special.log_softmax(logits, axis=0) + np.log(source)
    return special.softmax(joint, axis=1)


def _class_means(values: Array, labels: NDArray[np.intp], counts: NDArray[np.intp]) -> Array:
    ones = np.ones(len(labels))
    members = sparse.csr_array((ones, (labels, np.arange(len(labels)))), shape=(len(counts), len(labels)))
    return (members @ values) / np.maximum(counts, 1)[:, None]
