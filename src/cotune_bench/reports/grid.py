"""One table as one immutable object, from finished runs; every output format is made from it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Any

from cotune_bench.errors import UserError
from cotune_bench.reports.spec import TableSpec

if TYPE_CHECKING:  # importing pandas takes longer than building a table
    import pandas as pd

DECIMALS = 2  # of what is shown; two means that look the same are the same, also for "best"
NEEDED = (
    *("key", "method", "data", "backbone", "protocol", "rate", "seed"),
    *("accuracy", "weights", "version", "torch", "finished"),
)
#: Where recorded: texts and numbers.
TOLD = ("device", "instructions", "precision", "images", "weights_sha256", "test_sha256", "correct")
COUNTS = ("train_images", "test_images")
REMEDY = "delete its record and run it again"

Place = tuple[str, str, float]  # data, method, rate


@dataclass(frozen=True)
class Run:
    """One finished run: its accuracy in percent and what may set it apart from the others; "" or 0 if not recorded.

    Attributes:
        unit: its value on the table's axis of replicates or seeds.
        split: in words; in a table of replicates without a number.
        instructions: vector instructions of the CPU that it was computed with.
        images: fingerprint of images, labels, split and sample; ``test_sha256`` of the test images alone.
        correct: which test images are classified correctly, see :func:`cotune_bench.storage.records.unpacked`.
    """

    key: str
    data: str
    method: str
    rate: float
    unit: int
    seed: int
    accuracy: float
    finished: datetime
    backbone: str
    protocol: str
    weights: str
    version: str
    torch: str
    device: str = ""
    instructions: str = ""
    precision: str = ""
    split: str = ""
    images: str = ""
    weights_sha256: str = ""
    test_sha256: str = ""
    correct: str = ""
    train_images: int = 0
    test_images: int = 0


@dataclass(frozen=True)
class Cell:
    """Accuracy in percent of one method on one data set at one sampling rate, over replicates or seeds.

    ``runs`` are in the order of the table's units; ``mean`` is None without any, ``spread`` with fewer than two;
    ``best`` marks the highest shown mean of the contenders of its data set and rate.
    """

    data: str
    method: str
    rate: float
    runs: tuple[Run, ...]
    expected: int
    mean: float | None
    spread: float | None
    best: bool

    @property
    def n(self) -> int:
        """Number of runs found."""
        return len(self.runs)

    @property
    def random(self) -> int:
        """Number of runs with random weights in place of pre-trained ones."""
        return sum(run.weights == "random" for run in self.runs)

    @property
    def values(self) -> tuple[tuple[int, float], ...]:
        """(unit, accuracy) of every run."""
        return tuple((run.unit, run.accuracy) for run in self.runs)

    @property
    def keys(self) -> tuple[str, ...]:
        """The key of every run."""
        return tuple(run.key for run in self.runs)


@dataclass(frozen=True)
class Grid:
    """A table: ``cells`` by data set, then method, then rate, each in the order of ``spec``."""

    spec: TableSpec
    cells: tuple[Cell, ...]

    def cell(self, data: str, method: str, rate: float) -> Cell:
        """The cell at this place; KeyError if the table has none."""
        for cell in self.cells:
            if (cell.data, cell.method, cell.rate) == (data, method, rate):
                return cell
        raise KeyError(f"table {self.spec.name} has no cell ({data}, {method}, {rate})")

    def row(self, data: str, method: str) -> tuple[Cell, ...]:
        """The cells of one method on one data set, by rate."""
        return tuple(self.cell(data, method, rate) for rate in self.spec.rates)

    def runs(self, data: str | None = None) -> tuple[Run, ...]:
        """The runs behind the cells, of one data set or all."""
        return tuple(run for cell in self.cells for run in cell.runs if data in (None, run.data))

    def names(self, field: str, data: str | None = None) -> tuple[str, ...]:
        """What the runs say of a field such as ``weights``, sorted; several are a mixture, none is none known."""
        return tuple(sorted({getattr(run, field) for run in self.runs(data)} - {""}))


def spread(values: Iterable[float], kind: str) -> float | None:
    """Sample std (ddof 1), population std (ddof 0) or standard error (sample std / sqrt n); None if n < 2."""
    values = tuple(values)
    if len(values) < 2:
        return None
    if kind == "population":
        return statistics.pstdev(values)
    sample = statistics.stdev(values)
    return sample / math.sqrt(len(values)) if kind == "standard_error" else sample


def build_grid(spec: TableSpec, runs: pd.DataFrame) -> Grid:
    """The table of ``runs``, one row per finished run and none that is foreign to ``spec``.

    Of several runs of one method, data set, rate and unit the newest counts. Raises UserError for a missing
    column, a missing value, a time or accuracy that is none, and a run that ``spec`` does not ask for.
    """
    newest: dict[Place, dict[int, Run]] = {}
    for run in sorted(_checked(spec, runs), key=lambda run: (run.finished, run.key)):
        newest.setdefault((run.data, run.method, run.rate), {})[run.unit] = run
    return Grid(spec, _cells(spec, newest))


def _checked(spec: TableSpec, runs: pd.DataFrame) -> list[Run]:
    if runs.empty:
        return []
    absent = [column for column in NEEDED if column not in runs.columns]
    if absent:
        raise UserError(f"runs of table {spec.name} lack {', '.join(absent)}: rebuild results.csv")
    for column in NEEDED:
        empty = runs.loc[runs[column].isna() | (runs[column] == ""), "key"]
        if len(empty):
            raise UserError(f"run {empty.iloc[0]} has no {column}: {REMEDY}")
    rates = {_rounded(rate): rate for rate in spec.rates}
    return [_checked_run(spec, rates, run) for run in runs.to_dict("records")]


def _checked_run(spec: TableSpec, rates: dict[float, float], run: dict[Any, Any]) -> Run:
    name = f"run {run['key']}"
    try:
        finished = datetime.fromisoformat(str(run["finished"]))
        rate, accuracy = float(run["rate"]), float(run["accuracy"])
    except ValueError as error:
        raise UserError(f"{name}: {error}: {REMEDY}") from error
    if not 0 <= accuracy <= 100:
        raise UserError(f"{name}: accuracy {accuracy} is no percentage: {REMEDY}")
    asked = run["data"] in spec.data and run["method"] in spec.rows and run["seed"] in spec.units
    if not asked or _rounded(rate) not in rates:
        place = f"{run['data']}, {run['method']}, rate {rate:g}, {spec.unit} {run['seed']}"
        raise UserError(f"{name} ({place}) is not part of table {spec.name}: leave it out or add it there")
    values = {
        **{column: str(run[column]) for column in NEEDED},  # pandas reads a version such as 2.11 as a number
        **{column: str(run[column]) if _known(run.get(column)) else "" for column in TOLD},
        **{column: int(run[column]) if _known(run.get(column)) else 0 for column in COUNTS},
        "split": _split(spec, run),
        "rate": rates[_rounded(rate)],
        "unit": int(run["seed"]),  # also of a replicate, which sets it
        "seed": int(run["seed"]),
        "accuracy": accuracy,
        "finished": finished if finished.tzinfo else finished.replace(tzinfo=UTC),
    }
    return Run(**values)


def _split(spec: TableSpec, run: dict[Any, Any]) -> str:
    """A run's split in words, from its number and rule; replicates have one each."""
    if not _known(run.get("split")) or not run["split"]:
        return ""
    if spec.unit == "replicate":
        return f"one split for each replicate ({run['split']})"
    return f"split {int(run['split_seed'])} ({run['split']})" if _known(run.get("split_seed")) else str(run["split"])


def _known(value: Any) -> bool:
    return value is not None and value == value  # NaN is how pandas says that there is nothing


def _rounded(rate: float) -> float:
    return round(float(rate), 9)  # pandas may read 0.15 one bit off


def _cells(spec: TableSpec, newest: dict[Place, dict[int, Run]]) -> tuple[Cell, ...]:
    runs = {
        place: tuple(newest[place][unit] for unit in spec.units if unit in newest.get(place, {}))
        for place in product(spec.data, spec.rows, spec.rates)
    }
    # mean and stdev round once, from exact fractions: equal values spread by exactly 0, on every machine
    means = {place: statistics.mean(run.accuracy for run in found) for place, found in runs.items() if found}
    highest: dict[tuple[str, float], float] = {}
    contenders = {place: mean for place, mean in means.items() if place[1] in spec.methods}
    for (data, _, rate), mean in contenders.items():
        highest[data, rate] = max(highest.get((data, rate), 0.0), _shown(mean))
    return tuple(
        Cell(
            *place,
            runs=found,
            expected=len(spec.units),
            mean=means.get(place),
            spread=spread((run.accuracy for run in found), spec.std),
            best=place in contenders and _shown(means[place]) == highest[place[0], place[2]],
        )
        for place, found in runs.items()
    )


def _shown(mean: float) -> float:
    return float(f"{mean:.{DECIMALS}f}")
