"""One table as one immutable object, from finished runs; every output format is made from it."""

import math
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from typing import Any

import pandas as pd

from cotune_bench.errors import UserError

DECIMALS = 2  # shown; two means that look the same are the same, also for "best"
SPREADS = {"sample": "sample std", "population": "population std", "standard_error": "standard error"}

Place = tuple[str, str, float]  # data, method, rate


@dataclass(frozen=True)
class TableSpec:
    """What a table shows and in which order.

    Attributes:
        methods: the contenders; ``baselines`` are further rows below the line, never the best and in no verdict.
        rates: fractions of the training images.
        unit: what repeats a cell, ``replicate`` or ``seed``; ``units`` are its values.
        std: a key of SPREADS.
        apart: rows whose settings choose a backbone or weights of their own.
        note: a sentence that the caption ends with.
    """

    name: str
    title: str
    data: tuple[str, ...]
    methods: tuple[str, ...]
    rates: tuple[float, ...]
    units: tuple[int, ...]
    unit: str = "replicate"
    std: str = "sample"
    note: str = ""
    baselines: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise UserError(f"table name {self.name!r} names files: use letters, digits, '_', '-' and '.'")
        if self.std not in SPREADS:
            raise UserError(f"table {self.name}: std={self.std!r} is unknown: choose {', '.join(SPREADS)}")
        for name in ("data", "methods", "rates", "units", "rows"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(f"table {self.name}: {name} {values} must be at least one, none twice")

    @property
    def rows(self) -> tuple[str, ...]:
        """Contenders, then baselines."""
        return self.methods + self.baselines


@dataclass(frozen=True)
class Run:
    """One finished run: its accuracy in percent and what may set it apart from the others; "" or 0 if not recorded.

    Attributes:
        unit: its value on the table's axis of replicates or seeds.
        split: in words; in a table of replicates without a number.
        instructions: vector instructions of the CPU that it was computed with.
        images: fingerprint of images, labels, split and sample; ``test_sha256`` of the test images alone.
        costs: as the record has them.
        correct: which test images are classified correctly, see :func:`cotune_bench.storage.records.unpacked`.
    """

    key: str
    data: str
    method: str
    rate: float
    unit: int
    accuracy: float
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
    seconds: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict, compare=False)


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
        """The different recorded values of a field such as ``weights``, sorted; several are a mixture."""
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
    """The table of ``runs``, one row per finished run as in :func:`cotune_bench.reports.frame.run_frame`.

    Of several runs of one method, data set, rate and unit the newest counts.
    """
    newest: dict[tuple[Place, int], Run] = {}
    for row in runs.sort_values(["finished", "key"]).to_dict("records") if len(runs) else ():
        run = _run(spec, row)
        newest[(run.data, run.method, run.rate), run.unit] = run
    places = {
        place: tuple(newest[place, unit] for unit in spec.units if (place, unit) in newest)
        for place in product(spec.data, spec.rows, spec.rates)
    }
    # mean and stdev round once, from exact fractions: equal values spread by exactly 0, on every machine
    means = {place: statistics.mean(run.accuracy for run in found) for place, found in places.items() if found}
    shown = {place: round(mean, DECIMALS) for place, mean in means.items() if place[1] in spec.methods}
    cells = []
    for place, found in places.items():
        column = [shown[one] for one in shown if (one[0], one[2]) == (place[0], place[2])]
        best = place in shown and shown[place] == max(column)
        std = spread((run.accuracy for run in found), spec.std)
        cells.append(Cell(*place, found, len(spec.units), means.get(place), std, best))
    return Grid(spec, tuple(cells))


def _run(spec: TableSpec, row: Mapping[Any, Any]) -> Run:
    """The run of a row, whose missing values pandas gives as NaN or None."""
    known = {str(name): value for name, value in row.items() if not pd.isna(value)}
    split = known.get("split", "")
    if split and spec.unit == "replicate":
        split = f"one split for each replicate ({split})"
    elif split and "split_seed" in known:
        split = f"split {known['split_seed']:.0f} ({split})"
    values = {one.name: known[one.name] for one in fields(Run) if one.name in known}
    return Run(**values | {"unit": known["seed"], "split": split})  # replicates set the seed, too
