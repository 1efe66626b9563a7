"""An evaluation as text, JSON, CSV and figures."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cotune_bench.metrics import Evaluation
from cotune_bench.reports.figures.base import heat_map, image, settings
from cotune_bench.reports.figures.calibration import draw
from cotune_bench.reports.tables import aligned
from cotune_bench.storage.escape import csv_lines, plain
from cotune_bench.storage.files import write_atomically

SHOWN = 10  # confused pairs on the terminal


def class_frame(evaluation: Evaluation) -> pd.DataFrame:
    """One row for each class; ``accuracy`` in percent, None without images."""
    counts, right = evaluation.confusion.sum(axis=1), np.diag(evaluation.confusion)
    columns = {"class": evaluation.classes, "images": counts, "correct": right}
    return pd.DataFrame({**columns, "accuracy": pd.Series(evaluation.class_accuracies, dtype=object)})


def pair_frame(evaluation: Evaluation) -> pd.DataFrame:
    """One row for each pair of classes that was confused, the most frequent first."""
    return pd.DataFrame(evaluation.confused, columns=pd.Index(["true", "predicted", "images"]))


def as_json(evaluation: Evaluation, about: Mapping[str, object]) -> str:
    """``about``, then everything but the confusion matrix, which is in ``confused``."""
    values = {
        **about,
        "images": int(evaluation.confusion.sum()),
        "accuracy": evaluation.accuracy,
        "mean_class_accuracy": evaluation.mean_class_accuracy,
        "expected_calibration_error": 100 * evaluation.reliability.error,
        "bins": evaluation.reliability.count,
        "classes": class_frame(evaluation).to_dict("records"),
        "confused": pair_frame(evaluation).to_dict("records"),
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def as_lines(evaluation: Evaluation) -> list[str]:
    """What the terminal shows."""
    error, count = 100 * evaluation.reliability.error, evaluation.reliability.count
    whole = (
        f"accuracy {evaluation.accuracy:.2f} % of {evaluation.confusion.sum()} images, mean of the classes "
        f"{evaluation.mean_class_accuracy:.2f} %, expected calibration error {error:.2f} % ({count} bins)"
    )
    rows = [["class", "images", "correct", "accuracy (%)"]]
    for name, images, right, accuracy in class_frame(evaluation).itertuples(index=False):
        rows.append([plain(name), str(images), str(right), "-" if accuracy is None else f"{accuracy:.2f}"])
    lines = [whole, "", aligned(rows, names=1)]
    if evaluation.confused:
        pairs = [
            [plain(true), plain(predicted), str(images)] for true, predicted, images in evaluation.confused[:SHOWN]
        ]
        lines += ["", aligned([["most confused: true", "predicted", "images"], *pairs])]
    return lines


def write(
    evaluation: Evaluation, about: Mapping[str, object], folder: Path, mistakes: Figure | None = None
) -> list[Path]:
    """JSON, two CSV files and the PNG figures into the folder; their paths.

    Args:
        evaluation: scores.
        about: what was evaluated, and on what; part of the JSON.
        folder: made if it does not exist.
        mistakes: a further figure.
    """
    counts = evaluation.confusion
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = pd.Index(list(map(plain, evaluation.classes)))
    confusion = pd.DataFrame(shares, names, names)
    with settings():
        figures = {
            "reliability.png": draw({"test images": evaluation.reliability}),
            "confusion.png": heat_map(confusion, "True class", "Predicted class", "Images of the true class (%)"),
        }
    figures |= {"mistakes.png": mistakes} if mistakes else {}
    contents = {
        "evaluation.json": as_json(evaluation, about).encode(),
        "classes.csv": _csv(class_frame(evaluation)).encode(),
        "confused.csv": _csv(pair_frame(evaluation)).encode(),
        **{name: image(figure, "png") for name, figure in figures.items()},
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def _csv(frame: pd.DataFrame) -> str:
    return csv_lines([list(frame.columns), *frame.itertuples(index=False)])
