"""How often fine-tuning is said to beat itself: trained networks, from records to the sentence of the verdict.

Fine-tuning of table=desk_full is compared with four twins: the same source networks, splits and samples, other
training seeds. The replicates of a column are cut into groups, each of which is a table of its own and a repetition
of the experiment; then each column is judged with all its replicates. A twin also shows how much of the variance
between replicates is that of training seeds. Missing runs are trained and recorded in --results.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
from harness import environment
from joblib import Parallel, delayed

from cotune_bench.config import compose_config, run_key
from cotune_bench.config.tables import load_table
from cotune_bench.reports.build import table_grid
from cotune_bench.reports.columns import find_column
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import TableSpec, build_grid
from cotune_bench.reports.statistics import components, power_at
from cotune_bench.reports.verdict import Verdict, verdicts
from cotune_bench.storage.records import Record, RecordStore
from cotune_bench.training.experiment import Experiment

TABLE, NAMES, TWIN = "desk_full", ("finetune", "twin 1", "twin 2", "twin 3", "twin 4"), 1000
KEPT = Path(__file__).parent / "results" / "verdict_trained.json"


def main() -> None:
    """Train the twins that are missing, judge every repetition, print and keep."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--group", type=int, default=5, help="replicates of a repetition")
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--results", type=Path, default=Path("results"))
    arguments.add_argument("--json", type=Path, default=KEPT)
    given = arguments.parse_args()
    table = load_table(TABLE)
    units = table["replicate"]
    columns = list(product(table["data"], table["rate"]))
    cells = [cell for column in columns for unit in units for cell in replicate(*column, unit)]
    runs = iter(Parallel(n_jobs=given.jobs)(delayed(trained)(cell, given.results) for cell in cells))
    worlds = {column: [tuple(next(runs) for _ in (*NAMES, "cotuning")) for _ in units] for column in columns}
    found = {column: [world[:-1] for world in mine] for column, mine in worlds.items()}
    small = [
        judged(column, names[start : start + given.group])
        for column, names in found.items()
        for start in range(0, len(units), given.group)
    ]
    whole = [judged(column, names) for column, names in found.items()]
    lines = [line(small, given.group), line(whole, len(units)), *map(variances, worlds.items())]
    lines += powers(given.results)
    print(*lines, sep="\n")
    figures = {"environment": environment(1, ["torch", "numpy", "scipy"]), "printed": lines}
    figures |= {"repetitions": [facts(one) for one in small], "columns": [facts(one) for one in whole]}
    given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def replicate(data: str, rate: float, unit: int) -> list[list[str]]:
    """Overrides of fine-tuning, its twins and Co-Tuning in one replicate."""
    base = [f"data={data}", f"rate={rate}"]
    world = [f"split_seed={unit}", f"backbone.seed={unit}"]
    twins = [[f"seed={unit + number * TWIN}", *world] for number in range(1, len(NAMES))]
    return [
        [*base, "method=finetune", f"replicate={unit}"],
        *([*base, "method=finetune", *twin] for twin in twins),
        [*base, "method=cotuning", f"replicate={unit}"],
    ]


def trained(cell: list[str], results: Path) -> Record:
    """The record of a run, trained if there is none yet."""
    logging.getLogger("cotune_bench").setLevel(logging.ERROR)
    config = compose_config([*cell, f"results={results}"])
    store = RecordStore(results)
    if not store.finished(run_key(config)):
        placed = Experiment.build(config).placed()
        placed.train()
        store.add(placed.record(0.0))
    return store.read([run_key(config)])[0][0]


def judged(column: tuple[str, float], worlds: Sequence[tuple[Record, ...]]) -> Verdict:
    """What the tool says of a table with these replicates of all names."""
    runs = [
        replace(run, method=name, seed=unit, key=f"{run.key}-{unit}")
        for unit, world in enumerate(worlds)
        for name, run in zip(NAMES, world, strict=True)
    ]
    spec = TableSpec("null", "Null", (column[0],), NAMES, (column[1],), tuple(range(len(worlds))))
    return verdicts(build_grid(spec, run_frame(runs)[0]))[0]


def line(found: Sequence[Verdict], replicates: int) -> str:
    """How often a name is told from another, though all are one method."""
    clear = sum(one.clear for one in found)
    beaten = sum(smallest(one) < 0.05 for one in found)
    return (
        f"{replicates} replicates, {len(NAMES)} names of fine-tuning: one of them is called best in {clear} of "
        f"{len(found)} tables, any is beaten in {beaten}; smallest p {min(smallest(one) for one in found):.2g}"
    )


def smallest(verdict: Verdict) -> float:
    """The smallest p value of a table's pairs, which holds over all of them."""
    return min(pair.p for pair in verdict.pairs)


def variances(found: tuple[tuple[str, float], list[tuple[Record, ...]]]) -> str:
    """Variance over replicates of two differences, in squared points."""
    (data, rate), runs = found
    plain, twin, *_, cotuning = np.array([[run.accuracy for run in world] for world in runs]).T
    seed, all_ = np.var(twin - plain, ddof=1), np.var(cotuning - plain, ddof=1)
    return f"{data}, rate {rate:g}: variance of twin - fine-tuning {seed:.2f}, of Co-Tuning - fine-tuning {all_:.2f}"


def powers(results: Path) -> list[str]:
    """For every column of the table, the power for a difference of one point in the pair that has least."""
    grid, lines = table_grid(TABLE, [f"results={results}"])[0], []
    for data, rate in product(grid.spec.data, grid.spec.rates):
        column = find_column(grid, data, rate).column
        found = {
            (a, b): power_at(components(column, a, b), column.replicates, column.pairs, 1.0)
            for a, b in combinations(range(len(column.methods)), 2)
        }
        least = min(found, key=lambda pair: found[pair])
        first, second = (column.methods[place] for place in least)
        text = f"power for one point at least {100 * found[least]:.1f} % ({first}, {second})"
        lines.append(f"{data}, rate {rate:g}: {text}")
    return lines


def facts(verdict: Verdict) -> dict[str, object]:
    """A verdict as plain data."""
    return {"data": verdict.data, "rate": verdict.rate, "clear": verdict.clear, "smallest p": smallest(verdict)}


if __name__ == "__main__":
    main()
