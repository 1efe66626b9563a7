"""Find the best method for your images: cotune-bench compare-methods --data ~/flowers --budget 2h

Times every method on this machine, plans what fits the budget (and prints what it leaves out), runs it and recommends
a method. Takes the settings of a run, such as backbone=resnet18. The same command continues where it was stopped.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path

from cotune_bench.cli.budget import Chosen, choose, has_time, seconds_of
from cotune_bench.cli.parser import Parser
from cotune_bench.cli.plan import cost_of, counts_of
from cotune_bench.cli.run import announce, predict_command
from cotune_bench.config import build, check_choice, compose_config, run_config, run_key
from cotune_bench.config.overrides import path_override
from cotune_bench.errors import UserError
from cotune_bench.reports.recommendation import Runs, recommendation, scored
from cotune_bench.storage.files import check_writable, digest, write_atomically
from cotune_bench.storage.records import RecordStore
from cotune_bench.training import runner

CLASSIC = ("finetune", "l2sp", "delta", "bss", "cotuning")
#: By budget: at most about fine-tuning's time; the paper's methods; all that train one network from one source.
SUBSETS = {
    "quick": ("finetune", "linear_probe", "bn_only", "bitfit", "lp_ft", "ema"),
    "classic": CLASSIC,
    "all": (
        *(*CLASSIC, "stochnorm", "lwf", "bi_tuning", "lora"),
        *("linear_probe", "bn_only", "bitfit", "lp_ft", "ema", "wise_ft"),
    ),
}
#: Settings that the options give.
OPTIONS = {"data": "--data FOLDER", "data.root": "--data FOLDER", "method": "--methods"}
OPTIONS |= dict.fromkeys(("replicate", "seed", "split_seed"), "--replicates NUMBER")


def main(arguments: list[str]) -> int:
    """Plan, run, recommend; 1 if a run failed."""
    parser = Parser("compare-methods", __doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="class folders with your images")
    parser.add_argument("--budget", required=True, help="time, such as 2h, 90min or 1h30m")
    parser.add_argument("--methods", default="classic", help=f"{', '.join(SUBSETS)}, or names (classic)")
    parser.add_argument("--replicates", type=int, default=3, help="own split and seed each (3)")
    parser.add_argument("overrides", nargs="*", help="settings of a run, such as backbone=resnet18")
    given = parser.read(arguments)
    methods, budget = methods_of(given.methods), seconds_of(given.budget)
    if given.replicates < 1 or len(set(methods)) < 2:
        raise UserError("a comparison needs two methods and a replicate: change --methods or --replicates")
    for override in given.overrides:
        if (name := override.partition("=")[0]) in OPTIONS:
            raise UserError(f"{override} has no place here: give {OPTIONS[name]}")
    base = ["data=folder", path_override("data.root", Path(given.data).expanduser()), *given.overrides]
    config = compose_config(base)
    if config.protocol.val == 0:
        raise UserError("protocol.val=0 leaves no validation images to choose by: use protocol.val=0.2")
    results = Path(config.results)
    check_writable(results)
    announce(config)
    asked = {"config": run_config(config), "methods": methods, "replicates": given.replicates, "budget": budget}
    path = results / "comparisons" / f"{config.data.name}-{digest(asked)[:8]}.json"
    if not path.exists():
        chosen = planned(base, methods, given.replicates, budget)
        write_atomically(path, (json.dumps(asdict(chosen), indent=1) + "\n").encode())
    chosen = Chosen(**json.loads(path.read_text(encoding="utf-8")))  # the same command continues with its plan
    say(*chosen.lines())
    updates = f"protocol.updates={chosen.updates}"
    places = product(range(chosen.replicates), chosen.methods)
    cells = {(one, method): [*base, f"method={method}", f"replicate={one}", updates] for one, method in places}
    failed = run_all(cells, chosen, results)
    found = scored(finished(cells, results))
    if not found:
        raise UserError("no replicate was finished by all methods: see the failures above, and run the command again")
    lines = [*chosen.lines(), "", *recommendation(found, counts_of(config).val), *use(found, config.results)]
    images = {(replicate, record.data_sha256) for (replicate, _), record in found.items()}
    if len(images) > len({replicate for replicate, _ in found}):
        lines.append("Warning: the images changed between these runs; with force=true all are run again.")
    print("\n".join(lines))
    write_atomically(path.with_suffix(".txt"), ("\n".join(lines) + "\n").encode())
    print(f"-> {path.with_suffix('.txt')}; cotune-bench tables shows all runs")
    return 1 if failed else 0


def methods_of(text: str) -> list[str]:
    """The methods of a subset, or those named, separated by commas; UserError for an unknown name."""
    methods = list(SUBSETS.get(text, text.split(",")))
    for method in methods:
        check_choice("method", method)
    return methods


def planned(base: list[str], methods: list[str], replicates: int, budget: float) -> Chosen:
    """Time every method here, and choose what fits in the rest of the budget."""
    config = compose_config(base)
    build(config.backbone, cache=Path(config.cache).expanduser())  # or UserError for absent weights, before timing
    started = time.monotonic()
    costs = {method: cost_of(compose_config([*base, f"method={method}"]), {}) for method in methods}
    return choose(costs, replicates=replicates, budget=budget, timing=time.monotonic() - started)


def run_all(cells: Mapping[tuple[int, str], list[str]], chosen: Chosen, results: Path) -> int:
    """Run what is missing, replicate by replicate, while a whole round fits; returns the number of failures."""
    failed = 0
    for (replicate, method), overrides in cells.items():
        begins = replicate > 0 and method == chosen.methods[0]
        if begins and not has_time(chosen, finished(cells, results), replicate):
            say(f"the budget is used up: replicates from {replicate} on are left out")
            break
        try:
            say(runner.run(compose_config(overrides), shown=True).line)
        except UserError:
            raise
        except Exception as error:
            failed += 1
            say(f"{method} replicate {replicate} failed: {type(error).__name__}: {error}; the replicate is left out")
    return failed


def finished(cells: Mapping[tuple[int, str], list[str]], results: Path) -> Runs:
    """The records that exist, by replicate and method."""
    keys = {cell: run_key(compose_config(overrides)) for cell, overrides in cells.items()}
    records = {record.key: record for record in RecordStore(results).read(keys.values())[0]}
    return {cell: records[key] for cell, key in keys.items() if key in records}


def use(found: Runs, results: str) -> list[str]:
    """How to use the best network: of the recommended method, which is the first, the run that validates best."""
    recommended = next(name for _, name in found)
    runs = [record for (_, name), record in found.items() if name == recommended]
    best = max(runs, key=lambda run: run.val_accuracy or 0.0)
    return ["", "Its best network:", f"  {predict_command(best.key, results)}"]


def say(*lines: str) -> None:
    """Print progress on standard error."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)
