"""How often fine-tuning is said to beat itself: trained networks, from records to the sentence of the verdict.

Fine-tuning of table=desk_full is compared with a twin: the same source networks, splits and samples, another training
seed. The replicates of every column are cut into groups, each of which is a table of its own and a repetition of the
experiment; then each column is judged with all its replicates. The twins also show how much of the variance between
replicates is that of training seeds. Runs that are missing are trained and recorded in --results; a second call
trains nothing.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from harness import environment
from joblib import Parallel, delayed

from cotune_bench.config import compose_config, run_key
from cotune_bench.config.tables import load_table
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import TableSpec, build_grid
from cotune_bench.reports.verdict import Verdict, verdicts
from cotune_bench.storage.records import Record, RecordStore
from cotune_bench.training.experiment import Experiment

TABLE, NAMES, TWIN = "desk_full", ("finetune", "its twin"), 1000
KEPT = Path(__file__).parent / "results" / "verdict_trained.json"


def main() -> None:
    """Train the twins that are missing, judge every repetition, print and keep."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--group", type=int, default=3, help="replicates of a repetition")
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--results", type=Path, default=Path("results"))
    arguments.add_argument("--json", type=Path, default=KEPT)
    given = arguments.parse_args()
    table = load_table(TABLE)
    units = table["replicate"]
    columns = list(product(table["data"], table["rate"]))
    cells = [cell for column in columns for unit in units for cell in replicate(*column, unit)]
    runs = iter(Parallel(n_jobs=given.jobs)(delayed(trained)(cell, given.results) for cell in cells))
    worlds = {column: [(next(runs), next(runs), next(runs)) for _ in units] for column in columns}
    found = {column: [world[:2] for world in mine] for column, mine in worlds.items()}
    small = [
        judged(column, pairs[start : start + given.group])
        for column, pairs in found.items()
        for start in range(0, len(units), given.group)
    ]
    whole = [judged(column, pairs) for column, pairs in found.items()]
    lines = [line(small, given.group), line(whole, len(units)), *map(variances, worlds.items())]
    print(*lines, sep="\n")
    figures = {"environment": environment(1, ["torch", "numpy", "scipy"]), "printed": lines}
    figures |= {"repetitions": [facts(one) for one in small], "columns": [facts(one) for one in whole]}
    given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def replicate(data: str, rate: float, unit: int) -> list[list[str]]:
    """Overrides of fine-tuning, its twin and Co-Tuning in one replicate."""
    base = [f"data={data}", f"rate={rate}"]
    twin = [f"seed={unit + TWIN}", f"split_seed={unit}", f"backbone.seed={unit}"]
    return [
        [*base, "method=finetune", f"replicate={unit}"],
        [*base, "method=finetune", *twin],
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


def judged(column: tuple[str, float], pairs: Sequence[tuple[Record, Record]]) -> Verdict:
    """What the tool says of a table with these replicates of both."""
    runs = [
        replace(run, method=name, seed=unit, key=f"{run.key}-{unit}")
        for unit, pair in enumerate(pairs)
        for name, run in zip(NAMES, pair, strict=True)
    ]
    spec = TableSpec("null", "Null", (column[0],), NAMES, (column[1],), tuple(range(len(pairs))))
    return verdicts(build_grid(spec, run_frame(runs)[0]))[0]


def line(found: Sequence[Verdict], replicates: int) -> str:
    """How often one of the two is best."""
    clear = sum(one.clear for one in found)
    return f"{replicates} replicates: one of fine-tuning and its twin is best in {clear} of {len(found)} tables"


def variances(found: tuple[tuple[str, float], list[tuple[Record, Record, Record]]]) -> str:
    """Variance over replicates of two differences, in squared points."""
    (data, rate), runs = found
    plain, twin, cotuning = np.array([[run.accuracy for run in world] for world in runs]).T
    seed, all_ = np.var(twin - plain, ddof=1), np.var(cotuning - plain, ddof=1)
    return f"{data}, rate {rate:g}: variance of twin - fine-tuning {seed:.2f}, of Co-Tuning - fine-tuning {all_:.2f}"


def facts(verdict: Verdict) -> dict[str, object]:
    """A verdict as plain data."""
    (pair,) = verdict.pairs
    place = {"data": verdict.data, "rate": verdict.rate, "clear": verdict.clear}
    return place | {"difference": pair.difference, "stderr": pair.stderr, "p": pair.p}


if __name__ == "__main__":
    main()
