"""Choose a method's trade-off: python scripts/tune.py method=bss data=digits rate=0.15,1.0 replicates=0,1,2,3 jobs=2.

Trains every point of the grid in the method's yaml (its ``tune`` section) for every rate and replicate, scores it on
validation images alone and prints a table for each rate. A replicate is its own split and sample, training seed and,
where the benchmark has several, source network. ``--write`` writes conf/tuned/<method>_<data>.yaml, from which later
runs take the values of the nearest rate; without it nothing is written. Takes the overrides of run.py beside
``rate=``, ``replicates=0,1,2`` and ``jobs=1``, the number of processes.
"""

import shlex
import sys

from rich.console import Console
from rich.table import Table

from cotune_bench.cli import guarded
from cotune_bench.config import CONF, axes, compose_config
from cotune_bench.config.own_images import own_images
from cotune_bench.config.validate import number
from cotune_bench.errors import UserError
from cotune_bench.reports.tables import display_rate
from cotune_bench.storage.files import write_atomically
from cotune_bench.training.tuning import Point, best_of, spread, tune, tuned_yaml

OWN = ("rate", "replicates", "jobs")
REPLICATE = ("replicate", "seed", "split_seed", "backbone.seed", "seeds")


def main(arguments: list[str]) -> int:
    """Run the grid; print what it found, and write it if asked to."""
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return 0
    own = {"replicates": "0,1,2", "jobs": "1"}
    overrides = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in OWN:
            own[name] = value
        elif name in REPLICATE:
            raise UserError(f"{name}= cannot be used here: give replicates=0,1,2")
        elif argument != "--write":
            overrides.append(argument)
    replicates = [number("replicates", value, int) for value in values_of("replicates", own)]
    jobs = number("jobs", own["jobs"], int)
    if jobs < 1:
        raise UserError(f"jobs={jobs} cannot be used: it must be 1 or more")
    config = compose_config(overrides)
    rates = [number("rate", value, float) for value in values_of("rate", own)] if "rate" in own else [config.rate]
    write, mine = "--write" in arguments, own_images(config.data)
    if write and mine:
        raise UserError("--write cannot be used with your own images: the file would hold for every folder")
    found = tune(overrides, sorted(set(rates)), list(dict.fromkeys(replicates)), jobs)
    name = f"{config.method.name}_{config.data.name}"
    best = {rate: best_of(points) for rate, points in found.items()}
    for rate, points in found.items():
        over = f"mean ± standard deviation over {len(points[0].accuracies)} replicates"
        print(f"{name}, rate {display_rate(rate)}, validation images, {over}:")
        Console().print(table_of(points, best[rate]))
    if mine:
        for rate, point in best.items():
            settings = " ".join(f"method.{setting}={value}" for setting, value in point.values.items())
            print(f"add to your commands at rate={rate:g}: {settings}")
        return 0
    text = tuned_yaml(best, "python scripts/tune.py " + shlex.join(arguments))
    if write:
        write_atomically(CONF / "tuned" / f"{name}.yaml", text.encode())
    print(f"conf/tuned/{name}.yaml{'' if write else ' (not written: add --write)'}:\n{text}", end="")
    return 0


def values_of(name: str, own: dict[str, str]) -> list[str]:
    """The values of a setting: one, a list with commas, or Hydra's range(10)."""
    (found,) = axes([f"{name}={own[name]}"])
    return [value.partition("=")[2] for value in found]


def table_of(points: list[Point], best: Point) -> Table:
    """The grid of one rate."""
    table = Table(*best.values, "accuracy %", "nll", "")
    for point in points:
        scores = [spread(point.accuracies), spread(point.nlls, 4)]
        table.add_row(*map(str, point.values.values()), *scores, "chosen" if point is best else "")
    return table


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
