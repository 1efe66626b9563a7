"""How often fine-tuning is said to beat itself: trained networks, from records to the sentence of the verdict.

Every repetition is a table of its own: fine-tuning and the same under another name, with other training seeds, over
five replicates (source network, split and sample) that no other repetition uses. Runs are kept in --runs, so that a
second call goes on. 40 repetitions are 400 runs, ten minutes or more on two cores.
"""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

from harness import environment
from joblib import Parallel, delayed

from cotune_bench.backbones.glyphnet import shipped_seeds
from cotune_bench.config import compose_config
from cotune_bench.records import Record, RecordStore
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import TableSpec, build_grid
from cotune_bench.reports.verdict import verdicts

NAMES = ("finetune", "finetune again")
REPLICATES = 5
KEPT = Path(__file__).parent / "results" / "verdict_trained.json"


def main() -> None:
    """Train what is missing, judge every repetition, print and keep."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repetitions", type=int, default=40)
    arguments.add_argument("--data", default="digits")
    arguments.add_argument("--rate", type=float, default=0.15)
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--runs", type=Path, required=True, help="a results folder for the runs' records")
    arguments.add_argument("--json", type=Path, default=KEPT)
    given = arguments.parse_args()
    worlds = range(given.repetitions * REPLICATES)
    base = [f"data={given.data}", f"rate={given.rate}", "method=finetune", f"results={given.runs}"]
    cells = [[*base, *settings(world, seed)] for world in worlds for seed in range(len(NAMES))]
    runs = Parallel(n_jobs=given.jobs)(delayed(trained)(cell) for cell in cells)
    found = []
    for repetition in range(given.repetitions):
        size = REPLICATES * len(NAMES)
        mine = runs[repetition * size : (repetition + 1) * size]
        found.append(judged([renamed(run, place) for place, run in enumerate(mine)], given))
    clear = sum(one["clear"] for one in found)
    line = f"{given.data}, rate {given.rate:g}: fine-tuning beats itself in {clear} of {len(found)} repetitions"
    print(line)
    figures = {"environment": environment(1, ["torch", "numpy", "scipy"]), "printed": [line], "repetitions": found}
    given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def settings(world: int, seed: int) -> list[str]:
    """One run of a world, which has its own split and, in turn, one of the source networks."""
    return [f"split_seed={world}", f"backbone.seed={world % len(shipped_seeds())}", f"seed={2 * world + seed}"]


def trained(overrides: list[str]) -> Record:
    """The record of a run, trained if there is none yet."""
    from cotune_bench.experiment import Experiment

    logging.getLogger("cotune_bench").setLevel(logging.ERROR)
    config = compose_config(overrides)
    experiment = Experiment.build(config)
    store = RecordStore(Path(config.results))
    if not store.finished(experiment.key):
        with experiment.placed() as placed:
            placed.train()
            store.add(placed.record(0.0))
    return store.read([experiment.key])[0][0]


def renamed(run: Record, place: int) -> Record:
    """The run as that of a method and replicate of its table."""
    unit, name = divmod(place, len(NAMES))
    config = {**run.config, "seed": unit, "split_seed": unit}
    return replace(run, key=f"{run.key}-{place}", method=NAMES[name], seed=unit, config=config)


def judged(runs: list[Record], given: argparse.Namespace) -> dict[str, object]:
    """What the tool says of them."""
    units = tuple(range(REPLICATES))
    spec = TableSpec("null", "Null", (given.data,), NAMES, (given.rate,), units)
    (verdict,) = verdicts(build_grid(spec, run_frame(runs)[0]))
    (pair,) = verdict.pairs
    return {"clear": verdict.clear, "difference": pair.difference, "stderr": pair.stderr, "p": pair.p}


if __name__ == "__main__":
    main()
