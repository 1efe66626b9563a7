"""Arguments of the formulas as arrays, checked: a UserError of one line where one cannot be used."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cotune_bench.errors import UserError

Array = NDArray[np.floating]


def as_penalties(grid: Sequence[float]) -> tuple[float, ...]:
    """Values of C, at least one."""
    values = tuple(float(C) for C in grid)
    if not values or not all(np.isfinite(C) and C > 0 for C in values):
        raise UserError(f"grid is {values}: give finite values of C above 0")
    return values


def as_floats(name: str, values: ArrayLike) -> tuple[Array, np.dtype]:
    """The values in float64, and the float type in which results go back."""
    array = np.asarray(values)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise UserError(f"{name} has type {array.dtype}: give real numbers")
    wide = array.astype(np.float64)
    if not np.isfinite(wide).all():
        raise UserError(f"{name} has values that are not finite: remove NaN and infinity")
    return wide, array.dtype if np.issubdtype(array.dtype, np.floating) else wide.dtype


def as_matrix(name: str, values: ArrayLike) -> tuple[Array, np.dtype]:
    """A matrix of at least one sample in float64, and the float type in which results go back."""
    array, dtype = as_floats(name, values)
    if array.ndim != 2 or not array.size:
        raise UserError(f"{name} has shape {array.shape}: give a matrix of one row per sample")
    return array, dtype


def as_probabilities(name: str, values: ArrayLike) -> tuple[Array, np.dtype]:
    """The same of rows that sum to 1, to a hundredth."""
    array, dtype = as_matrix(name, values)
    if array.min() < 0 or abs(array.sum(axis=1) - 1).max() > 1e-2:
        raise UserError(f"{name} has rows that are not probabilities: apply softmax to the logits first")
    return array, dtype


def as_class_count(num_classes: int) -> int:
    """A number of classes."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer) or num_classes < 1:
        raise UserError(f"num_classes is {num_classes!r}: give an integer of at least 1")
    return int(num_classes)


def as_class_labels(name: str, labels: ArrayLike, count: int, num_classes: int | None = None) -> NDArray[np.intp]:
    """One label, 0..num_classes-1, for each of ``count`` samples."""
    array = np.asarray(labels)
    if array.shape != (count,):
        raise UserError(f"{name} has shape {array.shape}: give one label for each of the {count} samples")
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{name} has type {array.dtype}: give integer class numbers")
    if array.min() < 0 or (num_classes is not None and array.max() >= num_classes):
        top = "" if num_classes is None else f"..{num_classes - 1}"
        raise UserError(f"{name} has values from {array.min()} to {array.max()}: labels run from 0{top}")
    return array.astype(np.intp)
