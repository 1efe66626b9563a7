"""Scores of probabilities: accuracy, confusion and calibration (Guo et al., ICML 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

BINS = 10
EVALUATION_BINS = 15  # as in Guo et al.


@dataclass(frozen=True)
class Reliability:
    """Images by the largest of their probabilities, in bins of equal width on (0, 1], those without images left out.

    Attributes:
        temperature: that the logits were divided by.
        bins: (number from 0, images, mean confidence, accuracy as a share) of each bin.
        count: of all bins, also those without images.
    """

    temperature: float
    bins: tuple[tuple[int, int, float, float], ...]
    count: int = BINS

    @property
    def images(self) -> int:
        """In all bins."""
        return sum(images for _, images, _, _ in self.bins)

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of confidence from accuracy, weighted by images."""
        return sum(images * abs(right - sure) for _, images, sure, right in self.bins) / self.images


def reliability(
    probabilities: ArrayLike, labels: ArrayLike, temperature: float = 1.0, count: int = BINS
) -> Reliability:
    """``count`` bins of probabilities (N, K), which ``temperature`` has made, and labels (N,)."""
    values = np.asarray(probabilities, dtype=np.float64)
    sure, right = values.max(axis=1), values.argmax(axis=1) == np.asarray(labels)
    number = np.clip(np.ceil(sure * count).astype(int) - 1, 0, count - 1)
    members = {int(place): number == place for place in np.unique(number)}
    bins = [(n, int(rows.sum()), float(sure[rows].mean()), float(right[rows].mean())) for n, rows in members.items()]
    return Reliability(temperature, tuple(bins), count)


@dataclass(frozen=True)
class Evaluation:
    """Scores of N images.

    Attributes:
        classes: K names.
        confusion: (K, K) numbers of images, true classes in rows, predicted ones in columns.
        reliability: accuracy beside confidence; its ``error`` is the expected calibration error,
            sum_m |B_m| / N |accuracy(B_m) - confidence(B_m)| over bins of equal width (Guo et al., 2017, eq. 3).
    """

    classes: tuple[str, ...]
    confusion: np.ndarray
    reliability: Reliability

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100 * float(np.trace(self.confusion)) / float(self.confusion.sum())

    @property
    def class_accuracies(self) -> list[float | None]:
        """Percent of each class's images; None without images."""
        counts = self.confusion.sum(axis=1)
        right = np.diag(self.confusion)
        return [100 * float(one) / float(count) if count else None for one, count in zip(right, counts, strict=True)]

    @property
    def confused(self) -> list[tuple[str, str, int]]:
        """(true class, predicted class, images) of every pair that was confused, the most frequent first."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        rows, columns = np.nonzero(wrong)
        pairs = [(self.classes[i], self.classes[j], int(wrong[i, j])) for i, j in zip(rows, columns, strict=True)]
        return sorted(pairs, key=lambda pair: -pair[2])

    @property
    def mean_class_accuracy(self) -> float:
        """Percent, every class that has images counting the same."""
        return float(np.mean([value for value in self.class_accuracies if value is not None]))


def evaluate(probabilities: ArrayLike, labels: ArrayLike, classes: Sequence[str]) -> Evaluation:
    """Scores of probabilities (N, K) and labels (N,)."""
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (truth, values.argmax(axis=1)), 1)
    return Evaluation(tuple(classes), confusion, reliability(values, truth, count=EVALUATION_BINS))
