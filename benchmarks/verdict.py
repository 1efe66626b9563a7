"""How often the verdict is wrong, and how often it finds what is there: simulated worlds, from images to sentence.

Five methods classify test images of different difficulty. Replicates share these images or draw them from a pool;
within a replicate the methods share source network and sample, so that their errors are strongly correlated. The
variance between replicates of a paired difference is set to what the desk benchmark's components add up to
(source 0.21, split and sample 0.08, their interaction 0.76, training seed 0.08 squared points; docs/verdict.md).
"""

import argparse
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from harness import environment
from scipy import stats

from cotune_bench.records import Record
from cotune_bench.reports import statistics
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import TableSpec, build_grid
from cotune_bench.reports.statistics import LEVEL, Column, Pair, compare_all
from cotune_bench.reports.verdict import Verdict, verdicts

METHODS = ("finetune", "l2sp", "delta", "bss", "cotuning")
SIZES = (3, 5, 10, 16)
KEPT = Path(__file__).parent / "results" / "verdict.json"


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


# Candidates for the rule: the critical value of every pair ---------------------------------------------------------


def holm_rejects(pairs: tuple[Pair, ...]) -> list[bool]:
    """Decisions of Holm's step-down rule."""
    p = np.array([one.p / len(pairs) for one in pairs])  # Bonferroni's factor taken out
    order, rejected = np.argsort(p), [False] * len(p)
    for rank, place in enumerate(order):
        if p[place] * (len(p) - rank) >= LEVEL:
            break
        rejected[place] = True
    return rejected


def range_limit(one: Pair) -> float:
    """Tukey's studentised range with the pair's own variance (Games and Howell, 1976)."""
    return float(np.interp(1 / one.df, *_ranges()))


@cache
def _ranges() -> tuple[list[float], list[float]]:
    shares = [0.001, 0.01, 0.02, 0.04, 0.07, 0.1, 0.14, 0.2, 0.25, 0.3, 0.4, 0.5]  # 1 / df: the quantile takes long
    return shares, [stats.studentized_range.isf(LEVEL, len(METHODS), 1 / one) / 2**0.5 for one in shares]


def bootstrap_limit(rng: np.random.Generator, column: Column, draws: int = 500) -> float:
    """Quantile of the largest |t| of normal replicates with the covariance of the methods found."""
    values, vectors = np.linalg.eigh(np.cov(column.accuracies))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = rng.standard_normal((draws, column.replicates, len(METHODS))) @ root.T
    pairs = list(combinations(range(len(METHODS)), 2))
    gaps = drawn[:, :, [a for a, _ in pairs]] - drawn[:, :, [b for _, b in pairs]]
    sizes = np.abs(gaps.mean(axis=1)) / np.maximum(gaps.std(axis=1, ddof=1), 1e-9) * column.replicates**0.5
    return float(np.quantile(sizes.max(axis=1), 1 - LEVEL))


def candidates(rng: np.random.Generator, column: Column) -> dict[str, list[tuple[bool, Pair]]]:
    """For every rule, each pair and whether the rule calls it a difference."""
    pairs, plain = compare_all(column), compare_all(Column(METHODS, column.accuracies))

    def beyond(found: tuple[Pair, ...], limit: Callable[[Pair], float]) -> list[tuple[bool, Pair]]:
        return [(one.stderr > 0 and one.difference > limit(one) * one.stderr, one) for one in found]

    most = bootstrap_limit(rng, column)
    return {
        "paired t, uncorrected": beyond(plain, lambda one: statistics.critical(one.df, 1)),
        "paired t, Bonferroni": beyond(plain, lambda one: statistics.critical(one.df, column.pairs)),
        "model, uncorrected": beyond(pairs, lambda one: statistics.critical(one.df, 1)),
        "model, Bonferroni (the rule)": beyond(pairs, lambda one: statistics.critical(one.df, column.pairs)),
        "model, Holm": list(zip(holm_rejects(pairs), pairs, strict=True)),
        "model, studentised range": beyond(pairs, range_limit),
        "model, max-t bootstrap": beyond(pairs, lambda _: most),
    }


def rates(world: World, n: int, images: int, trials: int, lead: float, seed: int = 0) -> dict[str, dict[str, float]]:
    """For every rule: ``pair``, share of true nulls called a difference; ``any``, share of columns with one such;
    ``found``, share of real differences found; ``clear``, share of columns in which the last method is alone."""
    rng, counts = np.random.default_rng(seed), {}
    for _ in range(trials):
        column = column_of(draw(rng, world, n, images, lead), world)
        for rule, called in candidates(rng, column).items():
            false = [hit for hit, one in called if not lead or METHODS[-1] not in (one.first, one.second)]
            true = [hit and one.first == METHODS[-1] for hit, one in called if METHODS[-1] in (one.first, one.second)]
            counts.setdefault(rule, []).append((np.mean(false), any(false), np.mean(true), all(true)))
    names = ("pair", "any", "found", "clear")
    return {
        rule: dict(zip(names, np.round(np.mean(rows, axis=0), 4).tolist(), strict=True))
        for rule, rows in counts.items()
    }


# The whole chain, from records to sentences -------------------------------------------------------------------------


def records_of(correct: np.ndarray) -> list[Record]:
    """A record for every method and replicate of (5, n, N) correctness."""
    usual: dict[str, Any] = {"data": "digits", "backbone": "glyphnet", "protocol": "desk", "weights": "glyphs"}
    usual |= {"rate": 0.15, "nll": 0.3, "val_accuracy": None, "train_images": 110, "test_images": correct.shape[2]}
    usual |= {"seconds": 1.0, "finished": "2026-01-01T00:00:00+00:00", "test_sha256": "shared"}
    usual |= {"environment": {"version": "0.1.0", "torch": "2.15.0", "device": "cpu"}}
    return [
        Record(
            key=f"digits-{method}-{r}",
            method=method,
            seed=r,
            accuracy=100 * float(right.mean()),
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


def chain_rates(world: World, n: int, images: int, trials: int, lead: float, seed: int = 1) -> dict[str, float]:
    """Shares of repetitions whose sentence calls one method best, the last method best, and the last one beaten."""
    rng = np.random.default_rng(seed)
    found = [chain(draw(rng, world, n, images, lead)) for _ in range(trials)]
    for one in found:
        assert one.clear == (" is best" in one.sentence)  # noqa: S101
    return {
        "clear": sum(one.clear for one in found) / trials,
        "last_best": sum(one.best == METHODS[-1:] for one in found) / trials,
        "last_beaten": sum(METHODS[-1] not in one.best for one in found) / trials,
    }


def within(share: float, trials: int) -> str:
    """A share in percent with its 95 % interval (Clopper and Pearson, 1934)."""
    bounds = stats.binomtest(round(share * trials), trials).proportion_ci()
    return f"{100 * share:.1f} % [{100 * bounds.low:.1f}, {100 * bounds.high:.1f}]"


SCENES = {
    "methods that vary alike, 900 shared test images": (EQUAL, 900),
    "unequal variances, two methods alike, 900 shared test images": (UNEQUAL, 900),
    "300 of a pool of 1,500 own images drawn by every replicate": (OWN, 300),
    "the same, methods' levels correlated 0.2 between replicates": (OWN_OVERLAP, 300),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="columns for each line of the first table")
    parser.add_argument("--repetitions", type=int, default=400, help="of the whole chain")
    parser.add_argument("--json", type=Path, default=KEPT)
    options = parser.parse_args()
    lines, figures = [], {"environment": environment(1, ("numpy", "scipy")), "rules": [], "chain": [], "power": []}

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    for scene, (world, images) in SCENES.items():
        say(f"five equal methods, {scene}: % of pairs, and of columns, called different; {options.trials} columns")
        for n in SIZES:
            for rule, one in rates(world, n, images, options.trials, 0.0).items():
                figures["rules"].append({"scene": scene, "n": n, "rule": rule, **one})
                say(f"  n = {n:2}  {rule:32} {100 * one['pair']:5.1f} {100 * one['any']:5.1f}")
    for n in SIZES:
        one = chain_rates(ONE, n, 900, options.repetitions, 0.0)
        figures["chain"].append({"n": n, **one})
        say(
            f"five names of one method, records to sentence, n = {n:2}: clear in "
            f"{within(one['clear'], options.repetitions)} of {options.repetitions}"
        )
    for n in SIZES[1:]:
        one = chain_rates(EQUAL, n, 900, options.repetitions, 1.0)
        pair = rates(EQUAL, n, 900, options.repetitions, 1.0)["model, Bonferroni (the rule)"]["found"]
        figures["power"].append({"n": n, **one, "pair": pair})
        say(
            f"one method 1 point ahead of four, n = {n:2}: named best alone in "
            f"{within(one['last_best'], options.repetitions)}, beaten in "
            f"{within(one['last_beaten'], options.repetitions)}; a single difference found in {100 * pair:.1f} %"
        )
    options.json.write_text(json.dumps({**figures, "printed": lines}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
