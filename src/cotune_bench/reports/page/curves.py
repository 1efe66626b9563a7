"""Training curves as small SVG drawings, from what a run wrote to metrics.csv."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import escape

POINTS = 80  # of a line at most, so that hundreds of runs stay a few megabytes
WIDTH, HEIGHT = 240, 72  # of the drawing, in its own units


@dataclass(frozen=True)
class TrainingCurve:
    """Updates done, and the mean of every loss term and of their sum, ``loss``, since the point before."""

    updates: tuple[float, ...]
    terms: dict[str, tuple[float, ...]]


def read_curve(path: Path) -> TrainingCurve | None:
    """The curve in a metrics.csv, thinned to POINTS; None without two whole rows."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        return None
    numbers = [[float(text) for text in row] for row in rows if len(row) == len(header) and all(map(_finite, row))]
    if len(numbers) < 2 or header[:1] != ["updates"]:
        return None
    columns = dict(zip(header, zip(*thinned(numbers), strict=True), strict=True))
    terms = {name: values for name, values in columns.items() if name not in ("updates", "lr")}
    if len(terms) == 2:  # one term is the loss itself
        terms = {name: values for name, values in terms.items() if name != "loss"}
    return TrainingCurve(columns["updates"], terms)


def thinned(rows: Sequence[list[float]], points: int = POINTS) -> list[list[float]]:
    """At most so many rows, evenly spaced, the first and the last among them."""
    if len(rows) <= points:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (points - 1))] for place in range(points)]


def curve_svg(curve: TrainingCurve, run: str) -> str:
    """HTML with one line for each term, from zero to the highest value; its label tells where they begin and end."""
    first, last = curve.updates[0], curve.updates[-1]
    top = max(0.0, *(max(values) for values in curve.terms.values())) or 1.0
    low = min(0.0, *(min(values) for values in curve.terms.values()))
    lines = []
    for number, (name, values) in enumerate(curve.terms.items()):
        points = " ".join(
            f"{WIDTH * (update - first) / ((last - first) or 1):.1f},{HEIGHT * (top - value) / (top - low):.1f}"
            for update, value in zip(curve.updates, values, strict=True)
        )
        lines.append(f'<polyline class="t{number % 6}" points="{points}"><title>{escape(name)}</title></polyline>')
    told = "; ".join(f"{name} {values[0]:.3g} to {values[-1]:.3g}" for name, values in curve.terms.items())
    label = escape(f"Loss of {run} from update {first:g} to {last:g}: {told}")
    box = f"0 -2 {WIDTH} {HEIGHT + 4}"
    names = "".join(
        f'<span class="t{number % 6}">{escape(name)} {values[0]:.3g} → {values[-1]:.3g}</span>'
        for number, (name, values) in enumerate(curve.terms.items())
    )
    drawn = f'<svg class="curve" viewBox="{box}" role="img" aria-label="{label}">{"".join(lines)}</svg>'
    return f'{drawn}<span class="terms">{names}</span>'


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
