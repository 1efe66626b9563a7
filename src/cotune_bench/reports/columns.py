"""The columns of a table as the statistics take them: one data set at one rate, replicates that all methods have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotune_bench.reports.grid import Grid, Run
from cotune_bench.reports.statistics import Column
from cotune_bench.storage.records import unpacked


@dataclass(frozen=True)
class Found:
    """A column of a grid: the methods that have runs, the units that all of these have, and what goes into a test.

    ``clashing`` are units whose methods did not share training images or source weights, which are left out.
    """

    data: str
    rate: float
    methods: tuple[str, ...]
    units: tuple[int, ...]
    clashing: tuple[int, ...]
    column: Column


def find_column(grid: Grid, data: str, rate: float, methods: Sequence[str] | None = None) -> Found:
    """The column of these methods, by default of all contenders, as far as they have runs."""
    runs = {one: {run.unit: run for run in grid.cell(data, one, rate).runs} for one in methods or grid.spec.methods}
    runs = {method: found for method, found in runs.items() if found}
    shared = [unit for unit in grid.spec.units if runs and all(unit in found for found in runs.values())]
    clashing = tuple(unit for unit in shared if _clash([found[unit] for found in runs.values()]))
    units = tuple(unit for unit in shared if unit not in clashing)
    table = [[found[unit] for unit in units] for found in runs.values()]
    return Found(data, rate, tuple(runs), units, clashing, _column(tuple(runs), len(units), table))


def _clash(runs: Sequence[Run]) -> bool:
    return any(len({getattr(run, name) for run in runs} - {""}) > 1 for name in ("images", "weights_sha256"))


def _column(methods: tuple[str, ...], units: int, table: Sequence[Sequence[Run]]) -> Column:
    runs = [run for row in table for run in row]
    accuracies = np.array([run.accuracy for run in runs]).reshape(len(methods), units)
    prints = {run.test_sha256 for run in runs}
    if len(prints - {""}) > 1:  # the training images are a sample of the rest of the pool
        return Column(methods, accuracies, test_to_train=max(r.test_images * r.rate / r.train_images for r in runs))
    if not runs or "" in prints or not all(run.correct for run in runs):
        return Column(methods, accuracies)
    correct = [[unpacked(run.correct, run.test_images) for run in row] for row in table]
    return Column(methods, accuracies, np.array(correct))
