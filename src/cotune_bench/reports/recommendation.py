"""The method to recommend after a comparison on a user's own images: validation chooses, test gives the verdict."""

import statistics
from collections.abc import Mapping, Sequence

from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import TableSpec, build_grid, spread
from cotune_bench.reports.status import duration
from cotune_bench.reports.tables import display_name, mean_text, spaced, usual_place
from cotune_bench.reports.verdict import verdicts
from cotune_bench.storage.records import Record

Runs = Mapping[tuple[int, str], Record]  # by replicate and method


def scored(found: Runs) -> dict[tuple[int, str], Record]:
    """The runs of the replicates that all methods have; methods from the best mean validation accuracy to the worst.

    Of equal ones the quicker comes first; the test accuracies play no part in the order.
    """
    methods = {method for _, method in found}
    shared = [one for one in sorted({one for one, _ in found}) if all((one, name) in found for name in methods)]
    runs = {name: [found[one, name] for one in shared] for name in methods}
    if not shared:
        return {}
    means = {name: round(statistics.mean(_validation(runs[name])), 6) for name in runs}
    ranked = sorted(methods, key=lambda name: (-means[name], _seconds(runs[name]), name))
    return {(one, name): found[one, name] for name in ranked for one in shared}


def recommendation(found: Runs, val_images: int) -> list[str]:
    """Scores as a table, the method with the best mean validation accuracy, and the verdict of the test images.

    Args:
        found: as :func:`scored` gives it.
        val_images: number of validation images.
    """
    runs = {name: [run for (_, other), run in found.items() if other == name] for _, name in found}
    rows = [["", "validation %", "test %", "a run"]]
    for name, own in runs.items():
        scores = _validation(own), [run.accuracy for run in own]
        texts = [mean_text(statistics.mean(values), spread(values, "sample")) for values in scores]
        rows.append([display_name(name), *texts, duration(_seconds(own))])
    best, count = display_name(next(iter(runs))), len({one for one, _ in found})
    over = "of one replicate, a guess" if count == 1 else f"over {count} replicates"
    return [
        *spaced(rows),
        "",
        f"Recommended: {best}, which has the highest validation accuracy {over}; one of the {val_images} validation "
        f"images is {100 / val_images:.2g} points.",
        f"On the test images, which played no part in this: {_verdict(found)}",
    ]


def _verdict(found: Runs) -> str:
    """The verdict of these runs as one column of a table, in the methods' usual order."""
    methods = tuple(sorted({name for _, name in found}, key=usual_place))
    first = next(iter(found.values()))
    units = tuple(sorted({one for one, _ in found}))
    spec = TableSpec("comparison", "Comparison", (first.data,), methods, (first.rate,), units)
    frame, _ = run_frame(list(found.values()))
    (verdict,) = verdicts(build_grid(spec, frame), "--replicates {stop}, with the --budget for it")
    return verdict.sentence


def _validation(runs: Sequence[Record]) -> list[float]:
    return [float(run.val_accuracy or 0.0) for run in runs]


def _seconds(runs: Sequence[Record]) -> float:
    return statistics.median(run.seconds for run in runs)
