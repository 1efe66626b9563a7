"""Trade-offs chosen on validation images: every point of a method's grid, for each rate, over replicates."""

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import yaml
from omegaconf import OmegaConf

from cotune_bench.config import compose_config
from cotune_bench.errors import UserError


@dataclass(frozen=True)
class Point:
    """One point of a grid and its scores on the validation images, a value for each replicate."""

    values: dict[str, object]
    accuracies: tuple[float, ...]
    nlls: tuple[float, ...]

    @property
    def score(self) -> tuple[float, float]:
        """Mean accuracy in percent; among equal ones the smaller negative log-likelihood is better."""
        return round(statistics.mean(self.accuracies), 6), -statistics.mean(self.nlls)


def spread(values: Sequence[float], decimals: int = 2) -> str:
    """Mean ± sample standard deviation, the mean alone of one value."""
    mean = f"{statistics.mean(values):.{decimals}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{decimals}f}"


def grid_points(overrides: Sequence[str]) -> list[dict[str, object]]:
    """All combinations in the ``tune`` section of the method's yaml."""
    method = compose_config(overrides).method
    grid = OmegaConf.to_container(method.tune)
    assert isinstance(grid, dict)  # noqa: S101
    if not grid:
        raise UserError(f"method={method.name} has nothing to choose: its yaml names no grid under tune")
    return [dict(zip(map(str, grid), values, strict=True)) for values in product(*grid.values())]


def tune(
    overrides: Sequence[str], rates: Sequence[float], replicates: Sequence[int], jobs: int = 1
) -> dict[float, list[Point]]:
    """Train every grid point for every rate and replicate in ``jobs`` processes; for each rate the grid's points.

    Only validation images are scored. With more than one process (-1: one for each core) a run has one thread, unless
    ``protocol.threads`` is given.

    Raises:
        UserError: the method has no grid, a value cannot be used, or there are no validation images.
    """
    from joblib import Parallel, delayed
    from rich.console import Console
    from rich.progress import track

    points = grid_points(overrides)
    threads = ["protocol.threads=1"] if jobs != 1 else []
    settings = [[f"method.{name}={json.dumps(value)}" for name, value in point.items()] for point in points]
    cells = [
        [*threads, *overrides, f"rate={rate}", *values, f"replicate={replicate}"]
        for rate in rates
        for values in settings
        for replicate in replicates
    ]
    for cell in cells[:: len(replicates)]:
        compose_config(cell)
    runs = Parallel(n_jobs=jobs, return_as="generator")(delayed(validated)(cell) for cell in cells)
    scores: list = list(track(runs, "runs", len(cells), transient=True, console=Console(stderr=True)))
    found: dict[float, list[Point]] = {rate: [] for rate in rates}
    for number, (rate, point) in enumerate(product(rates, points)):
        own = scores[number * len(replicates) : (number + 1) * len(replicates)]
        found[rate].append(Point(point, tuple(run["accuracy"] for run in own), tuple(run["nll"] for run in own)))
    return found


def validated(overrides: Sequence[str]) -> dict[str, float]:
    """Train one configuration and score it on its validation images; nothing is recorded."""
    from cotune_bench.training.experiment import Experiment

    logging.getLogger("cotune_bench").setLevel(logging.ERROR)
    experiment = Experiment.build(compose_config(overrides))
    if not len(experiment.data.val):
        raise UserError("there are no validation images to choose on: set protocol.val=0.2")
    placed = experiment.placed()
    placed.train()
    return placed.validate()


def best_of(points: Sequence[Point]) -> Point:
    """The point with the best score, the first of the grid among equal ones."""
    return max(points, key=lambda point: point.score)


def tuned_yaml(best: Mapping[float, Point], command: str) -> str:
    """Text of ``conf/tuned/<method>_<data>.yaml`` from the best point of every rate; later runs use it."""
    first, *_ = best.values()
    values = {}
    for name in first.values:
        rates = ", ".join(f"{rate}: {json.dumps(point.values[name])}" for rate, point in best.items())
        values[name] = f"${{by_rate:{{{rates}}}}}"
    scores = "".join(f"# rate {rate:g}: {spread(point.accuracies)} %\n" for rate, point in best.items())
    return (
        "# @package _global_\n"
        "# Chosen for the best accuracy on validation images, by:\n"
        f"# {command}\n"
        f"# mean ± standard deviation over {len(first.accuracies)} replicates:\n"
        f"{scores}"
    ) + yaml.safe_dump({"method": values}, width=1000)
