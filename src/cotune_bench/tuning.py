"""Trade-offs chosen on validation images: every point of a method's small grid, a few seeds each; test stays shut."""

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import yaml
from omegaconf import OmegaConf

from cotune_bench.config import compose_config
from cotune_bench.errors import UserError


@dataclass(frozen=True)
class Point:
    """One point of a grid and its scores on the validation images, a value for each seed."""

    values: dict[str, object]
    accuracies: tuple[float, ...]
    nlls: tuple[float, ...]

    @property
    def score(self) -> tuple[float, float]:
        """Mean accuracy in percent; among equal ones the smaller negative log-likelihood is better."""
        return round(statistics.mean(self.accuracies), 6), -statistics.mean(self.nlls)


def grid_points(overrides: Sequence[str]) -> list[dict[str, object]]:
    """All combinations in the ``tune`` section of the method's yaml."""
    method = compose_config(overrides).method
    grid = OmegaConf.to_container(method.tune)
    assert isinstance(grid, dict)  # noqa: S101
    if not grid:
        raise UserError(f"method={method.name} has nothing to choose: its yaml names no grid under tune")
    return [dict(zip(map(str, grid), values, strict=True)) for values in product(*grid.values())]


def tune(overrides: Sequence[str], seeds: Sequence[int], jobs: int) -> list[Point]:
    """Train every grid point with every seed in ``jobs`` processes; points in the grid's order.

    Every seed draws its own validation split of the training pool: on a small data set one split is luck.

    Raises:
        UserError: the method has no grid, or there are no validation images.
    """
    from joblib import Parallel, delayed

    points = grid_points(overrides)
    cells = [
        [
            *overrides,
            *(f"method.{name}={value}" for name, value in point.items()),
            f"seed={seed}",
            f"split_seed={seed}",
        ]
        for point in points
        for seed in seeds
    ]
    for cell in cells:
        compose_config(cell)
    scores: list = list(Parallel(n_jobs=jobs)(delayed(_validated)(cell) for cell in cells))
    found = []
    for number, point in enumerate(points):
        runs = scores[number * len(seeds) : (number + 1) * len(seeds)]
        found.append(Point(point, tuple(run["accuracy"] for run in runs), tuple(run["nll"] for run in runs)))
    return found


def _validated(overrides: Sequence[str]) -> dict[str, float]:
    from cotune_bench.experiment import Experiment

    logging.getLogger("cotune_bench").setLevel(logging.ERROR)
    experiment = Experiment.build(compose_config(overrides))
    if not len(experiment.data.val):
        raise UserError("there are no validation images to choose on: set protocol.val=0.2")
    with experiment.placed() as placed:
        placed.train()
        scores = placed.validate()
    assert scores is not None  # noqa: S101
    return scores


def tuned_yaml(best: Point, command: str) -> str:
    """Text of ``conf/tuned/<method>_<data>.yaml``, which later runs of that method on that data set use."""
    accuracy = statistics.mean(best.accuracies)
    return (
        "# @package _global_\n"
        f"# Chosen on validation ({accuracy:.2f} % over {len(best.accuracies)} seeds and splits), by:\n"
        f"# {command}\n" + yaml.safe_dump({"method": best.values}, default_flow_style=None)
    )
