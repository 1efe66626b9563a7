"""The reverse relationship: our solver against scikit-learn's, the same 17 fits in one process, both converged.

The data are made: probabilities of a source network whose features tell the target classes apart.
"""

import logging
import warnings

import numpy as np
from harness import alternate, environment, parser, report, row, row_line
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
    options = arguments.parse_args()
    logging.getLogger("cotune_bench").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", ConvergenceWarning)
    figures: dict = {"environment": environment(options.threads, ("numpy", "scipy", "scikit-learn")), "rows": []}
    samples, sources, classes = SIZES["full" if options.full else "short"]
    lines = []
    for kind in SHARPNESS:
        problem = make_problem(kind, samples, sources, classes)
        found: dict[str, np.ndarray] = {}
        sides = {
            "ours": lambda p=problem, f=found: f.update(ours=reverse_relationship(*p)),
            "plain": lambda p=problem, f=found: f.update(plain=plain(*p)),
        }
        with threadpool_limits(options.threads):
            seconds = alternate(sides, options.rounds)
        most, mean = distance(found["ours"], found["plain"])
        if most > BOUNDS[0] or mean > BOUNDS[1]:
            raise SystemExit(f"{kind}: ours is {most:.1e}, {mean:.1e} from converged, bounds are {BOUNDS}")
        what = f"reverse relationship, {kind}, {samples} x {sources} to {classes}, both converged"
        figures["rows"].append(row(what, seconds))
        lines += [row_line(figures["rows"][-1]), f"  they differ by {most:.1e} at most, mean row L1 {mean:.1e}"]
    report(figures, lines, options.json)


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


def plain(train, labels, val, truth, classes) -> np.ndarray:
    """The published steps with scikit-learn, to our gradients."""
    fits = {
        C: LogisticRegression(C=C, fit_intercept=False, tol=RANKING, max_iter=10_000).fit(train, labels) for C in GRID
    }
    best = max(GRID, key=lambda C: ((val @ fits[C].coef_.T).argmax(axis=1) == truth).mean())
    last = LogisticRegression(C=best, fit_intercept=False, tol=FINAL, max_iter=10_000, warm_start=True)
    last.coef_, last.intercept_ = fits[best].coef_, np.zeros(classes)
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
