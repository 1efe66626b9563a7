"""Which method is best on your images? python scripts/compare_methods.py --data ~/flowers --budget 2h [overrides]

Times every method on this machine, plans what fits the budget (says what it leaves out), runs it and recommends one.
Takes the overrides of run.py, such as backbone=resnet18. The same command goes on where it was stopped.
"""

import shlex
import sys
import time
from pathlib import Path

from cotune_bench.cli import guarded
from cotune_bench.cli.compare_methods import (
    Chosen,
    choose,
    has_time,
    kept_choice,
    keys_of,
    overrides_of,
    recommendation,
    scored,
    seconds_of,
)
from cotune_bench.cli.plan import counts_of, measured
from cotune_bench.config import build, choices, compose_config, run_config
from cotune_bench.config.overrides import Arguments, path_override
from cotune_bench.config.own_images import auto_line
from cotune_bench.config.protocol import views_of
from cotune_bench.config.validate import suggest
from cotune_bench.data.quality import report
from cotune_bench.errors import UserError
from cotune_bench.storage.files import check_writable, digest, write_atomically
from cotune_bench.storage.records import Record, RecordStore
from cotune_bench.training import runner

METHODS = "finetune,l2sp,delta,bss,cotuning"
#: Settings that the flags give.
FLAGS = {"data": "--data FOLDER", "data.root": "--data FOLDER", "method": "--methods"}
FLAGS |= dict.fromkeys(("replicate", "seed", "split_seed"), "--replicates NUMBER")


def main(arguments: list[str]) -> int:
    """Plan, run, recommend; 1 if a run failed."""
    parser = Arguments(prog="compare_methods.py", description=__doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="class folders with your images")
    parser.add_argument("--budget", required=True, help="time, such as 2h, 90min or 1h30m")
    parser.add_argument("--methods", default=METHODS, help=f"separated by commas (default: {METHODS})")
    parser.add_argument("--replicates", type=int, default=3, help="own split and seed each (default: 3)")
    parser.add_argument("overrides", nargs="*", help="settings of run.py, such as backbone=resnet18")
    given = parser.parse_intermixed_args(arguments)
    methods, budget = given.methods.split(","), seconds_of(given.budget)
    if unknown := [one for one in methods if one not in choices("method")]:
        raise UserError(f"--methods {unknown[0]} is unknown: {suggest(unknown[0], choices('method'))}")
    if given.replicates < 1 or len(set(methods)) < 2:
        raise UserError("a comparison needs two methods and a replicate: change --methods or --replicates")
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
    asked = {"config": run_config(config), "methods": methods, "replicates": given.replicates, "budget": budget}
    path = results / "comparisons" / f"{config.data.name}-{digest(asked)[:8]}.json"
    chosen = kept_choice(path, lambda: planned(base, methods, given.replicates, budget))
    say(*chosen.lines())
    failed = run_all(base, chosen, results)
    found = scored(finished(base, chosen, results))
    if not found:
        raise UserError("no replicate was finished by all methods: see the failures above, and run the command again")
    lines = [*chosen.lines(), "", *recommendation(found, counts_of(config).val), *use(found, config.results)]
    images = {(replicate, record.data_sha256) for (replicate, _), record in found.items()}
    if len(images) > len({replicate for replicate, _ in found}):
        lines.append("Warning: the images changed between these runs; with force=true all are run again.")
    if any(record.weights == "random" for record in found.values()):
        lines.append("Warning: random weights, not pre-trained: this says nothing about transfer.")
    print("\n".join(lines))
    write_atomically(path.with_suffix(".txt"), ("\n".join(lines) + "\n").encode())
    print(f"-> {path.with_suffix('.txt')}; make tables shows all runs")
    return 1 if failed else 0


def planned(base: list[str], methods: list[str], replicates: int, budget: float) -> Chosen:
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
    wanted = {"updates": config.protocol.updates, "replicates": replicates}
    return choose(paces, evaluations, **wanted, budget=budget, timing=timing)


def run_all(base: list[str], chosen: Chosen, results: Path) -> int:
    """Run what is missing, replicate by replicate, while a whole round fits; gives the number of failures."""
    failed, round_ = 0, 0
    for replicate, method in chosen.cells():
        if replicate != round_:
            round_ = replicate
            if not has_time(chosen, finished(base, chosen, results), replicate):
                say(f"the budget is used up: replicates from {replicate} on are left out")
                break
        try:
            config = compose_config(overrides_of(base, chosen, replicate, method))
            outcome = runner.run(config, bar=sys.stderr.isatty())
            say(outcome.line)
        except UserError:
            raise
        except Exception as error:
            failed += 1
            say(f"{method} replicate {replicate} failed: {type(error).__name__}: {error}; the replicate is left out")
    return failed


def finished(base: list[str], chosen: Chosen, results: Path) -> dict[tuple[int, str], Record]:
    """The records that exist, by replicate and method."""
    keys = keys_of(base, chosen)
    records = {record.key: record for record in RecordStore(results).read(keys.values())[0]}
    return {cell: records[key] for cell, key in keys.items() if key in records}


def use(found: dict[tuple[int, str], Record], results: str) -> list[str]:
    """How to use the best network: of the recommended method, which is the first, the run that validates best."""
    recommended = next(name for _, name in found)
    runs = [record for (_, name), record in found.items() if name == recommended]
    best = max(runs, key=lambda run: run.val_accuracy or 0.0)
    place = "" if results == "results" else f" results={shlex.quote(results)}"
    return ["", "Its best network:", f"  python scripts/predict.py {best.key} PICTURE...{place}"]


def say(*lines: str) -> None:
    """What is going on, on standard error."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
