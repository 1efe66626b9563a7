"""Accuracy beside confidence, bin by bin, as a CSV file in the folder of a run."""

import csv
import io
from collections.abc import Mapping

from cotune_bench.metrics import Reliability
from cotune_bench.storage.escape import csv_lines

FILE = "calibration.csv"
COLUMNS = ("state", "temperature", "bin", "images", "confidence", "accuracy")


def to_csv(states: Mapping[str, Reliability]) -> str:
    """One line for each bin of each state, such as before and after."""
    rows = [
        (name, f"{state.temperature:.6g}", number, images, f"{sure:.6g}", f"{right:.6g}")
        for name, state in states.items()
        for number, images, sure, right in state.bins
    ]
    return csv_lines([COLUMNS, *rows])


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
