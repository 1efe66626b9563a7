"""Which images train, which validate: pure functions of labels, rate and ``split_seed``.

The training seed plays no part, so that all methods and seeds see the same images.
"""

import math

import numpy as np

from cotune_bench.errors import UserError

DIGITS = 9  # of counts before they become whole: 0.15 * 60 is 9.000000000000002 or 9, not 10
_VALIDATION, _SAMPLE = 0, 1  # separate random streams, so that one rule can change without the other


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stratified split of positions 0..n-1 into (kept, held out), both ascending.

    Of a class with n_c images ``floor(share * n_c)`` are held out, at least 1 and at most n_c - 1
    (Co-Tuning, You et al., 2020, holds out 20 %, once and for all).
    """
    held = []
    for label in np.unique(labels) if share > 0 else ():
        members = _permuted(labels, label, seed, _VALIDATION)
        count = min(max(math.floor(round(share * len(members), DIGITS)), 1), len(members) - 1)
        held.append(members[:count])
    held_out = np.sort(np.concatenate(held)) if held else np.empty(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def sample(labels: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Positions, ascending, of ``ceil(rate * n_c)`` images of every class c; smaller rates are subsets.

    The ceil rule and the nesting follow the image lists published with BSS (Chen et al., 2019).
    """
    chosen = []
    for label in np.unique(labels):
        members = _permuted(labels, label, seed, _SAMPLE)
        chosen.append(members[: max(1, math.ceil(round(rate * len(members), DIGITS)))])
    return np.sort(np.concatenate(chosen))


def split(
    labels: np.ndarray, num_classes: int, rate: float, *, val: float, order: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (train, validation) among the training pool's labels (n,).

    ``split_then_sample`` holds out validation images of the whole pool and samples the rest;
    ``sample_then_split`` samples first, so that validation shrinks with the rate.

    Raises:
        UserError: a class is left without a training image.
    """
    if order == "split_then_sample":
        kept, validation = hold_out(labels, val, seed)
        train = kept[sample(labels[kept], rate, seed)]
    else:
        chosen = sample(labels, rate, seed)
        kept, held = hold_out(labels[chosen], val, seed)
        train, validation = chosen[kept], chosen[held]
    empty = np.setdiff1d(np.arange(num_classes), labels[train])
    if len(empty):
        raise UserError(
            f"rate={rate} leaves {len(empty)} of {num_classes} classes without a training image "
            f"(first: class {empty[0]}): the data set has too few images of it, remove the class or add images"
        )
    return train, validation


def _permuted(labels: np.ndarray, label: int, seed: int, stream: int) -> np.ndarray:
    members = np.flatnonzero(labels == label)
    return np.random.default_rng([seed, stream, int(label)]).permutation(members)
