"""Which method is best on your images? python scripts/compare_methods.py --data ~/flowers --budget 2h [overrides]

Times every method on this machine, plans what fits the budget (says what it leaves out), runs it and recommends one.
Takes the overrides of run.py, such as backbone=resnet18. The same command goes on where it was stopped.
"""

import shlex
import sys
import time
from pathlib import Path

from cotune_bench import runner
from cotune_bench.arguments import Arguments, path_override
from cotune_bench.checks import suggest
from cotune_bench.cli import guarded
from cotune_bench.comparing import (
    Chosen,
    choose,
    has_time,
    kept_choice,
    keys_of,
    overrides_of,
    recommendation,
    scores,
    seconds_of,
)
from cotune_bench.config import build, choices, compose_config, run_config
from cotune_bench.data.own_report import report
from cotune_bench.errors import UserError
from cotune_bench.files import check_writable, digest, write_atomically
from cotune_bench.own import auto_line
from cotune_bench.planning import counts_of, measured, views_of
from cotune_bench.records import Record, RecordStore

METHODS = "finetune,l2sp,delta,bss,cotuning"
#: Settings that the flags give.
FLAGS = {"data": "--data FOLDER", "data.root": "--data FOLDER", "method": "--methods", "seed": "--seeds NUMBER"}


def main(arguments: list[str]) -> int:
    """Plan, run, recommend; 1 if a run failed."""
    parser = Arguments(prog="compare_methods.py", description=__doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="class folders with your images")
    parser.add_argument("--budget", required=True, help="time, such as 2h, 90min or 1h30m")
    parser.add_argument("--methods", default=METHODS, help=f"separated by commas (default: {METHODS})")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method (default: 3)")
    parser.add_argument("overrides", nargs="*", help="settings of run.py, such as backbone=resnet18")
    given = parser.parse_intermixed_args(arguments)
    methods, budget = given.methods.split(","), seconds_of(given.budget)
    if unknown := [one for one in methods if one not in choices("method")]:
        raise UserError(f"--methods {unknown[0]} is unknown: {suggest(unknown[0], choices('method'))}")
    if given.seeds < 1 or len(set(methods)) < 2:
        raise UserError("a comparison needs two methods and a seed: give --methods and --seeds accordingly")
    for override in given.overrides:
        if (name := override.partition("=")[0]) in FLAGS:
            raise UserError(f"{override} has no place here: give {FLAGS[name]}")
    base = ["data=folder", path_override("data.root", Path(given.data).expanduser()), *given.overrides]
    config = compose_config(base)
    if config.protocol.val == 0:
        raise UserError("protocol.val=0 leaves no validation images to choose by: use protocol.val=0.2")
    results = Path(config.results)
    check_writable(results)
    say(*report(config), *([auto_line(config)] if config.protocol.name == "auto" else []))
    asked = {"config": run_config(config), "methods": methods, "seeds": given.seeds, "budget": budget}
    path = results / "comparisons" / f"{config.data.name}-{digest(asked)[:8]}.json"
    chosen = kept_choice(path, lambda: planned(base, methods, given.seeds, budget))
    say(*chosen.lines())
    failed = run_all(base, chosen, results)
    found = finished(base, chosen, results)
    ranked = scores(found)
    if not ranked:
        raise UserError("no seed was finished by all methods: see the failures above, and run the command again")
    val_images = counts_of(config).val
    lines = [*chosen.lines(), "", *recommendation(ranked, val_images), *use(found, ranked[0].method, config.results)]
    if len({record.data_sha256 for record in found.values()}) > 1:
        lines.append("Warning: the images changed between these runs; with force=true all are run again.")
    if any(record.weights == "random" for record in found.values()):
        lines.append("Warning: random weights, not pre-trained: this says nothing about transfer.")
    print("\n".join(lines))
    write_atomically(path.with_suffix(".txt"), ("\n".join(lines) + "\n").encode())
    print(f"-> {path.with_suffix('.txt')}; make tables shows all runs")
    return 1 if failed else 0


def planned(base: list[str], methods: list[str], seeds: int, budget: float) -> Chosen:
    """Time every method here, and choose what fits in the rest of the budget."""
    config = compose_config(base)
    build(config.backbone, cache=Path(config.cache).expanduser())  # weights that cannot be had are told first
    started = time.monotonic()
    paces, evaluations = {}, {}
    for method in methods:
        say(f"timing {method}")
        config = compose_config([*base, f"method={method}"])
        counts = counts_of(config)
        paces[method] = measured(config, counts)
        evaluations[method] = (counts.val + views_of(config.protocol.views) * counts.test) * paces[method].view
    timing = time.monotonic() - started
    return choose(paces, evaluations, updates=config.protocol.updates, seeds=seeds, budget=budget, timing=timing)


def run_all(base: list[str], chosen: Chosen, results: Path) -> int:
    """Run what is missing, seed by seed, while there is time for a whole round; gives the number of failures."""
    failed, round_ = 0, 0
    for seed, method in chosen.cells():
        if seed != round_:
            round_ = seed
            if not has_time(chosen, finished(base, chosen, results), seed):
                say(f"the budget is used up: seeds from {seed} on are left out")
                break
        try:
            outcome = runner.run(compose_config(overrides_of(base, chosen, seed, method)), bar=sys.stderr.isatty())
            say(outcome.line)
        except UserError:
            raise
        except Exception as error:
            failed += 1
            say(f"{method} seed {seed} failed: {type(error).__name__}: {error}; its seed is left out")
    return failed


def finished(base: list[str], chosen: Chosen, results: Path) -> dict[tuple[int, str], Record]:
    """The records there are, by seed and method."""
    keys = keys_of(base, chosen)
    records = {record.key: record for record in RecordStore(results).read(keys.values())[0]}
    return {cell: records[key] for cell, key in keys.items() if key in records}


def use(found: dict[tuple[int, str], Record], method: str, results: str) -> list[str]:
    """How the best run's network is used: of the recommended method, the seed that validates best."""
    runs = [record for (_, name), record in found.items() if name == method]
    best = max(runs, key=lambda run: run.val_accuracy or 0.0)
    place = "" if results == "results" else f" results={shlex.quote(results)}"
    return ["", "Its best network:", f"  python scripts/predict.py {best.key} PICTURE...{place}"]


def say(*lines: str) -> None:
    """What is going on, on standard error."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
