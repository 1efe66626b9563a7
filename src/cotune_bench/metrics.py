"""How far probabilities can be believed: accuracy beside confidence, bin by bin (Guo et al., ICML 2017)."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

FILE = "calibration.csv"  # in the folder of a run
BINS = 10
COLUMNS = ("state", "temperature", "bin", "images", "confidence", "accuracy")


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
    members = [(place, number == place) for place in range(count)]
    return Reliability(
        temperature,
        tuple(
            (place, int(inside.sum()), float(sure[inside].mean()), float(right[inside].mean()))
            for place, inside in members
            if inside.any()
        ),
        count,
    )


def to_csv(states: Mapping[str, Reliability]) -> str:
    """One line for each bin of each state, such as before and after."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for state, told in states.items():
        for number, images, sure, right in told.bins:
            writer.writerow([state, f"{told.temperature:.6g}", number, images, f"{sure:.6g}", f"{right:.6g}"])
    return buffer.getvalue()


def from_csv(text: str) -> dict[str, Reliability]:
    """The states in a text of :func:`to_csv`; ValueError for any other."""
    header, *lines = csv.reader(io.StringIO(text))
    if tuple(header) != COLUMNS or not lines:
        raise ValueError(f"its columns are {', '.join(header)}, with {len(lines)} lines")
    found: dict[str, Reliability] = {}
    for state, temperature, number, images, sure, right in lines:
        before = found[state].bins if state in found else ()
        one = (int(number), int(images), float(sure), float(right))
        found[state] = Reliability(float(temperature), (*before, one))
    return found
