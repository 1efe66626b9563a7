"""The reverse relationship: our solver against scikit-learn's, the same 17 fits in one process.

`plain, default` is the authors' call under today's default tolerance, which stops early, `plain, 2020` under that of
its time; `plain, converged` stops where we do. The data are made: probabilities of a source network whose features
tell the target classes apart.
"""

import logging
import warnings

import numpy as np
from harness import alternate, compared, environment, exponent, parser, report, row, timed
from scipy import special
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from cotune_bench.penalty_trials import RANKING
from cotune_bench.relationship import FINAL, GRID, fit_temperature, reverse_relationship, softmax

SIZES = {"short": (800, 160, 40), "full": (4800, 1000, 200)}  # training samples, source and target classes
SHARPNESS = {"peaked": 6.0, "soft": 1.0}
BOUNDS = 1e-2, 2e-3  # of a converged matrix: largest entry, mean over rows of summed entries


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--full", action="store_true", help="CUB's size, 4800 x 1000 to 200 classes: an hour")
    arguments.add_argument("--unchecked", action="store_true", help="without scikit-learn to convergence: minutes")
    options = arguments.parse_args()
    logging.getLogger("cotune_bench").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", ConvergenceWarning)
    figures: dict = {"environment": environment(options.threads, ("numpy", "scipy", "scikit-learn")), "rows": []}
    samples, sources, classes = SIZES["full" if options.full else "short"]
    lines = []
    with threadpool_limits(options.threads):
        for kind in SHARPNESS:
            problem = make_problem(kind, samples, sources, classes)
            found: dict[str, np.ndarray] = {}
            sides = {
                "ours": lambda p=problem, f=found: f.update(ours=ours(*p)),
                "plain, default": lambda p=problem, f=found: f.update({"plain, default": plain(*p)}),
                "plain, 2020": lambda p=problem, f=found: f.update({"plain, 2020": plain(*p, stop="2020")}),
                "plain, converged": lambda p=problem, f=found: f.update(
                    {"plain, converged": plain(*p, stop="converged")}
                ),
            }
            if options.unchecked:
                del sides["plain, converged"]
            seconds = alternate(sides, options.rounds)
            figures[kind] = {"size": (samples, sources, classes), "seconds": seconds}
            lines += [f"{kind}: {samples} samples, {sources} to {classes} classes", *compared(seconds, "ours")]
            if options.unchecked:
                continue
            converged = found.pop("plain, converged")
            distances = {name: distance(matrix, converged) for name, matrix in found.items()}
            if any(np.greater(distances["ours"], BOUNDS)):
                raise SystemExit(f"{kind}: ours is {distances['ours']} from converged, bounds are {BOUNDS}")
            what = f"reverse relationship, {kind}, {samples} x {sources} to {classes}, both converged"
            figures["rows"].append(row(what, seconds, plain="plain, converged"))
            figures[kind]["from converged"] = distances
            lines += [
                f"{name:24} from converged: max {most:.1e}, mean row L1 {mean:.1e}"
                for name, (most, mean) in distances.items()
            ]
    figures["growth"] = {}
    for what, size in (("samples", samples), ("classes", classes)):
        grown = [size // 4 * times for times in (1, 2, 4)]
        spent = [growing(**{"samples": samples, "sources": sources, "classes": classes, what: one}) for one in grown]
        figures["growth"][what] = {what: grown, "seconds": spent, "exponent": exponent(grown, spent)}
        told = ", ".join(f"{count}: {second:.2f} s" for count, second in zip(grown, spent, strict=True))
        lines.append(f"ours over {what} {told}; exponent {exponent(grown, spent):.2f}")
    report(figures, lines, options.json)


def growing(samples: int, sources: int, classes: int) -> float:
    """Seconds of ours, the better of two."""
    problem = make_problem("peaked", samples, sources, classes)
    return min(timed(lambda: ours(*problem)) for _ in range(2))


def make_problem(kind: str, samples: int, sources: int, classes: int) -> tuple:
    """(train, labels, val, labels, classes): a quarter as many validation samples."""
    rng = np.random.default_rng(0)
    width = 128
    head, centres = rng.normal(size=(sources, width)) / width**0.5, rng.normal(size=(classes, width))
    parts = []
    for count in (samples, samples // 4):
        labels = np.arange(count) % classes
        features = centres[labels] + 0.9 * rng.normal(size=(count, width))
        parts += [softmax(SHARPNESS[kind] * features @ head.T), labels]
    return (*parts, classes)


def ours(*problem) -> np.ndarray:
    return reverse_relationship(*problem)


def plain(train, labels, val, truth, classes, *, stop="default") -> np.ndarray:
    """The published steps with scikit-learn, to its default tolerance, to that of 2020 or to ours' gradients."""
    stops = {
        "default": {},
        "2020": {"tol": 1e-4 / len(labels)},  # of the mean loss; then it was of the sum
        "converged": {"tol": RANKING, "max_iter": 10_000},
    }
    tolerance = stops[stop]
    weights = {C: LogisticRegression(C=C, fit_intercept=False, **tolerance).fit(train, labels).coef_ for C in GRID}
    best = max(GRID, key=lambda C: ((val @ weights[C].T).argmax(axis=1) == truth).mean())
    chosen = weights[best]
    if stop == "converged":
        last = LogisticRegression(C=best, fit_intercept=False, tol=FINAL, max_iter=10_000, warm_start=True)
        last.coef_, last.intercept_ = chosen, np.zeros(classes)
        chosen = last.fit(train, labels).coef_
    scale = 1 / fit_temperature(val @ chosen.T, truth)
    joint = special.softmax(scale * chosen, axis=0) * np.concatenate([train, val]).mean(axis=0)
    return joint / joint.sum(axis=1, keepdims=True)


def distance(found: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Largest entry and mean row sum of the absolute difference."""
    difference = abs(found - other)
    return float(difference.max()), float(difference.sum(axis=1).mean())


if __name__ == "__main__":
    main()
