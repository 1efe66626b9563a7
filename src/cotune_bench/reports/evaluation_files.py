"""An evaluation as text, JSON, CSV and figures."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cotune_bench.metrics import Evaluation
from cotune_bench.reports.figures.base import image, new_figure, settings
from cotune_bench.reports.figures.calibration import draw
from cotune_bench.reports.tables import aligned
from cotune_bench.storage.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 5.5  # inches
NAMED = 40  # classes whose names fit beside a heat map
SHOWN = 10  # confused pairs on the terminal


def as_json(evaluation: Evaluation, about: Mapping[str, object]) -> str:
    """``about``, then everything but the confusion matrix, which is in ``confused``."""
    told = {
        **about,
        "images": int(evaluation.confusion.sum()),
        "accuracy": evaluation.accuracy,
        "mean_class_accuracy": evaluation.mean_class_accuracy,
        "expected_calibration_error": 100 * evaluation.reliability.error,
        "bins": evaluation.reliability.count,
        "classes": [dict(zip(CLASS_COLUMNS, row, strict=True)) for row in class_rows(evaluation)],
        "confused": [dict(zip(PAIR_COLUMNS, pair, strict=True)) for pair in evaluation.confused],
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


CLASS_COLUMNS = ("class", "images", "correct", "accuracy")
PAIR_COLUMNS = ("true", "predicted", "images")


def class_rows(evaluation: Evaluation) -> list[tuple[str, int, int, float | None]]:
    """(name, images, correct ones, percent) of every class."""
    counts, right = evaluation.confusion.sum(axis=1).tolist(), np.diag(evaluation.confusion).tolist()
    return list(zip(evaluation.classes, counts, right, evaluation.class_accuracies, strict=True))


def as_lines(evaluation: Evaluation) -> Iterator[str]:
    """What the terminal shows."""
    error, count = 100 * evaluation.reliability.error, evaluation.reliability.count
    yield (
        f"accuracy {evaluation.accuracy:.2f} % of {evaluation.confusion.sum()} images, mean of the classes "
        f"{evaluation.mean_class_accuracy:.2f} %, expected calibration error {error:.2f} % ({count} bins)"
    )
    yield ""
    rows = [["class", "images", "correct", "accuracy (%)"]]
    for name, images, right, accuracy in class_rows(evaluation):
        rows.append([name, str(images), str(right), "-" if accuracy is None else f"{accuracy:.2f}"])
    yield aligned(rows, names=1)
    if evaluation.confused:
        yield ""
        shown = [[true, predicted, str(images)] for true, predicted, images in evaluation.confused[:SHOWN]]
        yield aligned([["most confused: true", "predicted", "images"], *shown])


def write(evaluation: Evaluation, about: Mapping[str, object], folder: Path) -> list[Path]:
    """JSON, two CSV files and two PNG figures into the folder; their paths.

    Args:
        about: what was evaluated, and on what; part of the JSON.
    """
    with settings():
        figures = {
            "reliability.png": draw({"test images": evaluation.reliability}, WIDTH),
            "confusion.png": confusion_figure(evaluation),
        }
    contents = {
        "evaluation.json": as_json(evaluation, about).encode(),
        "classes.csv": _csv(CLASS_COLUMNS, class_rows(evaluation)),
        "confused.csv": _csv(PAIR_COLUMNS, evaluation.confused),
        **{name: image(figure, "png") for name, figure in figures.items()},
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def confusion_figure(evaluation: Evaluation) -> "Figure":
    """Share of every true class (row) that was taken for each class (column), in percent."""
    counts = evaluation.confusion
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(WIDTH, 0.85 * WIDTH)
    figure.set_layout_engine("compressed")  # the plain one cuts labels off beside square axes
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.grid(visible=False)
    places = range(len(evaluation.classes)) if len(evaluation.classes) <= NAMED else ()
    names = [evaluation.classes[place] for place in places]
    size = max(4, 9 - len(names) // 8)
    axes.set_xticks(places, names, rotation=90, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    figure.colorbar(shown, label="Images of the true class (%)")
    return figure


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([header, *rows])
    return buffer.getvalue().encode()
