"""Choose a method's trade-off on validation: python scripts/tune.py method=cotuning data=cars rate=0.15.

Trains every point of the grid in the method's yaml (its ``tune`` section), prints the validation scores and writes
conf/tuned/<method>_<data>.yaml, which later runs use and record; for own images it prints what to add instead. Takes
the overrides of run.py, and ``seeds=0,1,2``, each of which also draws a validation split of its own, and ``jobs=1``,
the number of processes.
"""

import statistics
import sys

from rich.console import Console
from rich.table import Table

from cotune_bench.cli import guarded
from cotune_bench.config import CONF, compose_config
from cotune_bench.errors import UserError
from cotune_bench.files import write_atomically
from cotune_bench.own import own_images
from cotune_bench.tuning import tune, tuned_yaml


def main(arguments: list[str]) -> int:
    """Run the grid and write what won."""
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return 0
    own = {"seeds": "0,1,2", "jobs": "1"}
    overrides = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in own:
            own[name] = value
        elif name in ("seed", "split_seed"):
            raise UserError(f"{name}= has no place here: give seeds=0,1,2")
        else:
            overrides.append(argument)
    try:
        seeds, jobs = [int(seed) for seed in own["seeds"].split(",")], int(own["jobs"])
    except ValueError as error:
        raise UserError(f"seeds={own['seeds']} jobs={own['jobs']}: both are whole numbers") from error
    config = compose_config(overrides)
    points = tune(overrides, seeds, jobs)
    best = max(points, key=lambda point: point.score)
    name = f"{config.method.name}_{config.data.name}"
    table = Table(*best.values, "validation %", "nll", "", title=f"{name}, rate {config.rate:g}")
    for point in points:
        scores = [f"{statistics.mean(point.accuracies):.2f}", f"{statistics.mean(point.nlls):.4f}"]
        table.add_row(*map(str, point.values.values()), *scores, "chosen" if point is best else "")
    Console().print(table)
    if own_images(config.data):  # a yaml would hold for every folder
        print("add to your commands:", *(f"method.{name}={value}" for name, value in best.values.items()))
        return 0
    path = CONF / "tuned" / f"{name}.yaml"
    write_atomically(path, tuned_yaml(best, " ".join(["python scripts/tune.py", *arguments])).encode())
    print(f"written: conf/tuned/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
