"""Simulated replicates for benchmarks/verdict.py: which images five methods classify correctly, and their records.

Methods classify test images of different difficulty. Replicates share these images or draw them from a pool; within a
replicate the methods share source network and sample, so that their errors are strongly correlated. The variance
between replicates of a paired difference is what the desk benchmark's components add up to (source 0.21, split and
sample 0.08, their interaction 0.76, training seed 0.08 squared points; docs/verdict.md).
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import TableSpec, build_grid
from cotune_bench.reports.statistics import Column
from cotune_bench.reports.verdict import Verdict, verdicts
from cotune_bench.storage.records import Record

METHODS = ("finetune", "l2sp", "delta", "bss", "cotuning")


@dataclass(frozen=True)
class World:
    """Standard deviations of a probit model of which images are classified correctly.

    An image is correct if its difficulty, its reading in this replicate, the method's own view of it, the replicate's
    and the method's level in it, and noise add up to more than a threshold that gives ``accuracy``.
    """

    accuracy: float = 0.94
    difficulty: float = 2.5
    replicate_image: float = 1.0
    replicate: float = 0.12
    method_image: float = 0.35
    method_replicate: float = 0.145
    noise: float = 0.7
    scales: tuple[float, ...] = (1.0,) * 5  # of method_replicate and noise
    alike: float = 0.0  # correlation of the first two methods' levels
    overlap: float = 0.0  # correlation of a method's levels between replicates: one pool of training images
    pool: int = 0  # images that every replicate draws its own test images from; 0: all share theirs


EQUAL = World()
UNEQUAL = World(scales=(0.4, 0.7, 1.0, 1.3, 1.6), alike=0.8)
ONE = World(method_image=0.0)  # five names of one method
OWN = World(pool=1500)
OWN_OVERLAP = World(pool=1500, overlap=0.2)


def draw(rng: np.random.Generator, world: World, n: int, images: int, lead: float = 0.0) -> np.ndarray:
    """(5, n, images) bool; the last method is ``lead`` points more accurate than the others."""
    count, scales = len(METHODS), np.array(world.scales)
    total = world.pool or images
    views = world.method_image * rng.standard_normal((count, total))
    fixed = world.difficulty * rng.standard_normal(total) + views
    seen = np.array([rng.permutation(total)[:images] for _ in range(n)]) if world.pool else np.arange(images)
    shared = world.replicate_image * rng.standard_normal((n, images)) + world.replicate * rng.standard_normal((n, 1))
    levels = rng.standard_normal((count, n))
    levels[1] = world.alike * levels[0] + (1 - world.alike**2) ** 0.5 * levels[1]
    levels = world.overlap**0.5 * rng.standard_normal((count, 1)) + (1 - world.overlap) ** 0.5 * levels
    own = world.method_replicate * levels[:, :, None] + world.noise * rng.standard_normal((count, n, images))
    latent = fixed[:, seen].reshape(count, -1, images) + shared + scales[:, None, None] * own
    spread = np.sqrt(
        world.difficulty**2
        + world.replicate_image**2
        + world.replicate**2
        + world.method_image**2
        + scales**2 * (world.method_replicate**2 + world.noise**2)
    )
    accuracies = np.full(count, world.accuracy)
    accuracies[-1] += lead / 100
    return latent > -(stats.norm.ppf(accuracies) * spread)[:, None, None]


def column_of(correct: np.ndarray, world: World) -> Column:
    """As the statistics take it."""
    accuracies = 100 * correct.mean(axis=2)
    if world.pool:
        return Column(METHODS, accuracies, test_to_train=correct.shape[2] / (world.pool - correct.shape[2]))
    return Column(METHODS, accuracies, correct)


def records_of(correct: np.ndarray) -> list[Record]:
    """A record for every method and replicate of (5, n, N) correctness."""
    usual: dict[str, Any] = {"data": "digits", "backbone": "glyphnet", "protocol": "desk", "weights": "glyphs"}
    usual |= {"rate": 0.15, "validation": {}, "train_images": 110, "test_images": correct.shape[2]}
    usual |= {"seconds": 1.0, "finished": "2026-01-01T00:00:00+00:00", "test_sha256": "shared"}
    usual |= {"environment": {"version": "0.1.0", "torch": "2.15.0", "device": "cpu"}}
    return [
        Record(
            key=f"digits-{method}-{r}",
            method=method,
            seed=r,
            metrics={"accuracy": 100 * float(right.mean()), "nll": 0.3},
            weights_sha256=f"source{r}",
            data_sha256=f"sample{r}",
            config={"seed": r, "split_seed": r, "protocol": {"val": 0.2, "split_order": "split_then_sample"}},
            correct=base64.b64encode(np.packbits(right)).decode(),
            **usual,
        )
        for method, rows in zip(METHODS, correct, strict=True)
        for r, right in enumerate(rows)
    ]


def chain(correct: np.ndarray) -> Verdict:
    """The verdict of one column from its records, as ``make tables`` gives it."""
    units = tuple(range(correct.shape[1]))
    frame, _ = run_frame(records_of(correct))
    (found,) = verdicts(build_grid(TableSpec("desk", "Simulated", ("digits",), METHODS, (0.15,), units), frame))
    return found
