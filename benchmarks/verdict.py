"""How often the verdict is wrong, and how often it finds what is there: simulated worlds, from images to sentence.

    python benchmarks/verdict.py                 all parts, half an hour of one core
    python benchmarks/verdict.py --only chain    this part; the others' last figures stay

benchmarks/worlds.py describes the simulation, docs/verdict.md its figures.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from harness import environment
from scipy import stats
from worlds import EQUAL, METHODS, ONE, OWN, OWN_OVERLAP, UNEQUAL, World, chain, column_of, draw

from cotune_bench.reports import statistics
from cotune_bench.reports.statistics import LEVEL, compare_all

SIZES = (3, 5, 10, 16)
KEPT = Path(__file__).parent / "results" / "verdict.json"


def rates(world: World, n: int, images: int, trials: int, lead: float, seed: int = 0) -> dict[str, float]:
    """Rates of error and of discovery.

    ``pair``: share of true nulls called a difference; ``any``: share of columns with one such; ``found``: share of
    real differences found; ``clear``: share of columns in which the last method is alone.
    """
    rng, counts = np.random.default_rng(seed), []
    for _ in range(trials):
        column = column_of(draw(rng, world, n, images, lead), world)
        called = [(one.p < LEVEL, one) for one in compare_all(column)]
        false = [hit for hit, one in called if not lead or METHODS[-1] not in (one.first, one.second)]
        true = [hit and one.first == METHODS[-1] for hit, one in called if METHODS[-1] in (one.first, one.second)]
        counts.append((np.mean(false), any(false), np.mean(true), all(true)))
    names = ("pair", "any", "found", "clear")
    return dict(zip(names, np.round(np.mean(counts, axis=0), 4).tolist(), strict=True))


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


# The parts: figures of a line, and the line ------------------------------------------------------------------------

Part = Iterator[tuple[dict[str, object], str]]


def rule_part(options: argparse.Namespace) -> Part:
    """How often equal methods are called different."""
    for scene, (world, images) in SCENES.items():
        for n in SIZES:
            one = rates(world, n, images, options.trials, 0.0)
            figures = {"scene": scene, "n": n, "trials": options.trials, **one}
            shares = f"{100 * one['pair']:5.1f} % of pairs, {100 * one['any']:5.1f} % of columns called different"
            yield figures, f"five equal methods, {scene}, n = {n:2}: {shares}"


def chain_part(options: argparse.Namespace) -> Part:
    """How often the sentence calls one of five names of the same method best."""
    for n in SIZES:
        one = chain_rates(ONE, n, 900, options.repetitions, 0.0)
        clear = within(one["clear"], options.repetitions)
        line = f"five names of one method, records to sentence, n = {n:2}: clear in {clear} of {options.repetitions}"
        yield {"n": n, "repetitions": options.repetitions, **one}, line


def power_part(options: argparse.Namespace) -> Part:
    """How often a lead of 1 point over four equal methods is found."""
    for n in SIZES[1:]:
        one = chain_rates(EQUAL, n, 900, options.repetitions, 1.0)
        pair = rates(EQUAL, n, 900, options.repetitions, 1.0)["found"]
        best, beaten = (within(one[name], options.repetitions) for name in ("last_best", "last_beaten"))
        line = f"one method 1 point ahead of four, n = {n:2}: named best alone in {best}, beaten in {beaten}; "
        figures = {"n": n, "repetitions": options.repetitions, **one, "pair": pair}
        yield figures, line + f"a single difference found in {100 * pair:.1f} %"


def needed_part(options: argparse.Namespace) -> Part:
    """Replicates needed for 1 point by the mean components of all pairs, and by those of the worst pair."""
    rng, pairs = np.random.default_rng(2), list(combinations(range(len(METHODS)), 2))
    for n in SIZES:
        found = []
        for _ in range(options.repetitions // 4):
            column = column_of(draw(rng, EQUAL, n, 900), EQUAL)
            parts = [statistics.components(column, a, b) for a, b in pairs]
            mean = statistics.mean_components(parts)
            found.append([statistics.enough_replicates(one, column.pairs) or np.inf for one in (mean, *parts)])
        table = np.array(found)
        spans = [np.percentile(values, [10, 50, 90]).tolist() for values in (table[:, 0], table[:, 1:].max(axis=1))]
        texts = ["{1:.0f} ({0:.0f} to {2:.0f})".format(*span) for span in spans]
        line = f"replicates needed for 1 point, from n = {n:2}: by mean of pairs {texts[0]}, worst pair {texts[1]}"
        yield {"n": n, "mean": spans[0], "worst": spans[1]}, line


PARTS = {"rules": rule_part, "chain": chain_part, "power": power_part, "needed": needed_part}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--trials", type=int, default=2000, help="columns for each line of the rules")
    parser.add_argument("--repetitions", type=int, default=400, help="of the whole chain")
    parser.add_argument("--json", type=Path, default=KEPT)
    options = parser.parse_args()
    kept = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
    kept["environment"] = environment(1, ("numpy", "scipy"))
    for name in [options.only] if options.only else PARTS:
        rows, printed = [], []
        for figures, line in PARTS[name](options):
            print(line, flush=True)
            rows.append(figures)
            printed.append(line)
        kept[name] = {"rows": rows, "printed": printed}
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
