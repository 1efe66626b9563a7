"""Choose a method's trade-off: cotune-bench tune method=bss data=digits rate=0.15,1.0 replicates=0,1,2,3 jobs=2

Trains every point of the grid in the method's yaml (its tune section) for every rate and replicate, scores it on
validation images alone and prints a table for each rate. A replicate has its own split and sample, training seed and,
where the benchmark has several, source network. Without --write nothing is written.
"""

import shlex

from cotune_bench.cli.parser import Parser
from cotune_bench.config import axes, compose_config, groups
from cotune_bench.config.own_images import own_images
from cotune_bench.config.validate import number
from cotune_bench.errors import UserError
from cotune_bench.reports.tables import display_rate, spaced
from cotune_bench.storage.files import write_atomically
from cotune_bench.training.tuning import Point, best_of, spread, tune, tuned_yaml

REPLICATE = ("replicate", "seed", "split_seed", "backbone.seed", "seeds")


def main(arguments: list[str]) -> int:
    """Run the grid; print the scores, and write the best values if asked to."""
    parser = Parser("tune", __doc__, rate="", replicates="0,1,2", jobs="1")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="rate=LIST, replicates=0,1,2, jobs=1 (processes, -1: all cores), and settings of a run",
    )
    parser.add_argument(
        "--write", action="store_true", help="write conf/tuned/METHOD_DATA.yaml, which later runs use"
    )
    given = parser.read(arguments)
    for override in given.overrides:
        if (name := override.partition("=")[0]) in REPLICATE:
            raise UserError(f"{name}= cannot be used here: give replicates=0,1,2")
    replicates = [number("replicates", value, int) for value in values_of("replicates", given.replicates)]
    jobs = number("jobs", given.jobs, int)
    config = compose_config(given.overrides)
    rates = [number("rate", value, float) for value in values_of("rate", given.rate)] if given.rate else [config.rate]
    mine = own_images(config.data)
    if given.write and mine:
        raise UserError("--write cannot be used with your own images: the file would hold for every folder")
    found = tune(given.overrides, sorted(set(rates)), list(dict.fromkeys(replicates)), jobs)
    name = f"{config.method.name}_{config.data.name}"
    best = {rate: best_of(points) for rate, points in found.items()}
    for rate, points in found.items():
        over = f"mean ± standard deviation over {len(points[0].accuracies)} replicates"
        print(f"{name}, rate {display_rate(rate)}, validation images, {over}:")
        print("\n".join(lines_of(points, best[rate])))
    if mine:
        for rate, point in best.items():
            settings = " ".join(f"method.{setting}={value}" for setting, value in point.values.items())
            print(f"add to your commands at rate={rate:g}: {settings}")
        return 0
    text = tuned_yaml(best, "cotune-bench tune " + shlex.join(arguments))
    if given.write:
        write_atomically(groups.CONF / "tuned" / f"{name}.yaml", text.encode())
    print(f"conf/tuned/{name}.yaml{'' if given.write else ' (not written: add --write)'}:\n{text}", end="")
    return 0


def values_of(name: str, text: str) -> list[str]:
    """The values of a setting: one, a list with commas, or Hydra's range(10)."""
    (found,) = axes([f"{name}={text}"])
    return [value.partition("=")[2] for value in found]


def lines_of(points: list[Point], best: Point) -> list[str]:
    """The grid of one rate."""
    rows = [[*best.values, "accuracy %", "nll", ""]]
    for point in points:
        scores = [spread(point.accuracies), spread(point.nlls, 4)]
        rows.append([*map(str, point.values.values()), *scores, "chosen" if point is best else ""])
    return spaced(rows)
