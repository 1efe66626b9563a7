"""Methods compared on one's own images within a time budget: what fits, and what the runs recommend."""

import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cotune_bench.config import compose_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import TableSpec, build_grid, spread
from cotune_bench.reports.published import BASELINE, CHALLENGER
from cotune_bench.reports.status import duration
from cotune_bench.reports.tables import METHOD_NAMES, display_name
from cotune_bench.reports.verdict import verdicts
from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.records import Record
from cotune_bench.training.pace import Pace

#: Share of the budget that is planned; the rest is for decoding, start-up and a busy machine.
USED = 0.8
#: Updates are cut to this share of the wanted before replicates are, and replicates to this number before
#: methods are.
LEAST_SHARE, LEAST_REPLICATES = 1 / 3, 2
#: Fewer updates than this train nothing.
LEAST_UPDATES = 100
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Chosen:
    """What is run: every method with replicates 0, 1, ... and this many updates; ``cuts`` says what is left out.

    ``seconds`` is what it will take, ``budget`` what it may, ``device`` where it was timed, ``timing`` the seconds of
    the budget which that took.
    """

    methods: tuple[str, ...]
    replicates: int
    updates: int
    seconds: float
    budget: float
    device: str
    cuts: tuple[str, ...] = ()
    timing: float = 0.0

    def cells(self) -> list[tuple[int, str]]:
        """(replicate, method) of every run, in the order in which they are made: all methods for each replicate."""
        return [(one, method) for one in range(self.replicates) for method in self.methods]

    def lines(self) -> list[str]:
        """What is printed before it starts."""
        count = "1 replicate" if self.replicates == 1 else f"{self.replicates} replicates"
        return [
            f"plan: {', '.join(map(display_name, self.methods))}; {count}, {self.updates:,} updates each: "
            f"{len(self.methods) * self.replicates} runs, about {duration(self.seconds)} of {duration(self.budget)} "
            f"(timed on {self.device}, which took {duration(self.timing)} of them)",
            *(f"to fit the budget: {cut}" for cut in self.cuts),
        ]


def seconds_of(text: str) -> float:
    """Seconds in ``2h``, ``90 min``, ``1h30m`` or ``45s``; UserError for anything else."""
    plain = text.replace(" ", "").lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)(min|[smhd])", plain)
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != plain or not total:
        raise UserError(f"--budget {text} cannot be used: give a time such as 2h, 90min or 1h30m")
    return total


def choose(
    paces: Mapping[str, Pace],
    evaluations: Mapping[str, float],
    *,
    updates: int,
    replicates: int,
    budget: float,
    timing: float = 0.0,
) -> Chosen:
    """The largest comparison that fits: first fewer updates, then replicates, then methods, the slowest first.

    Fine-tuning, the baseline, and Co-Tuning are the last to stay.

    Args:
        paces: of every wanted method, in the order in which they are shown.
        evaluations: seconds of all that is evaluated in a run.
        updates, replicates: wanted.
        budget: seconds, of which ``USED`` is planned.
        timing: seconds of the budget that are gone already.

    Raises:
        UserError: not even two methods with a replicate fit.
    """
    methods, least = list(paces), max(round(LEAST_SHARE * updates), min(LEAST_UPDATES, updates))
    dropped: list[str] = []
    count = replicates
    while True:
        fixed = timing + sum(count * evaluations[one] + paces[one].prepare for one in methods)
        affordable = math.floor((USED * budget - fixed) / count / sum(paces[one].update for one in methods))
        if affordable >= least:
            break
        droppable = [one for one in methods if one not in (BASELINE, CHALLENGER)] or methods[1:]
        if count > min(LEAST_REPLICATES, replicates):
            count -= 1
        elif len(methods) > 2:
            slowest = max(droppable, key=lambda one: least * paces[one].update + paces[one].prepare / count)
            methods.remove(slowest)
            dropped.append(slowest)
        elif least > min(LEAST_UPDATES, updates):
            least = min(LEAST_UPDATES, updates)
        elif count > 1:
            count = 1
        else:
            needed = (fixed + least * sum(paces[one].update for one in methods)) / USED
            raise UserError(
                f"the budget of {duration(budget)} is too short: {' and '.join(map(display_name, methods))} with "
                f"{least} updates need {duration(needed)}: give more, or a smaller "
                "network (backbone=resnet18) or smaller pictures (protocol.resize, protocol.crop)"
            )
    used = min(updates, affordable)
    used = used if used == updates or used < LEAST_UPDATES else used // 10 * 10
    cuts = [f"{used:,} instead of {updates:,} updates"] * (used < updates)
    cuts += [f"{count} instead of {replicates} replicates"] * (count < replicates)
    cuts += [
        f"without {display_name(one)} ({paces[one].update:.2g} s an update, {duration(paces[one].prepare)} before)"
        for one in dropped
    ]
    seconds = fixed + count * used * sum(paces[one].update for one in methods)
    return Chosen(tuple(methods), count, used, seconds, budget, paces[methods[0]].device, tuple(cuts), timing)


def kept_choice(path: Path, make: Callable[[], Chosen]) -> Chosen:
    """The comparison that a file tells of, which the same command goes on with; made and written if there is none."""
    if not path.exists():
        chosen = make()
        write_atomically(path, (json.dumps(asdict(chosen), indent=1) + "\n").encode())
        return chosen
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Chosen(**{**values, "methods": tuple(values["methods"]), "cuts": tuple(values["cuts"])})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error}): delete it to plan again") from error


def overrides_of(base: Sequence[str], chosen: Chosen, replicate: int, method: str) -> list[str]:
    """The overrides of one run."""
    return [*base, f"method={method}", f"replicate={replicate}", f"protocol.updates={chosen.updates}"]


def keys_of(base: Sequence[str], chosen: Chosen) -> dict[tuple[int, str], str]:
    """The key of every run."""
    return {cell: run_key(compose_config(overrides_of(base, chosen, *cell))) for cell in chosen.cells()}


def has_time(chosen: Chosen, found: Mapping[tuple[int, str], Record], replicate: int) -> bool:
    """Whether a round of all methods fits in what is left of the budget, by what the finished runs took."""
    spent = chosen.timing + sum(record.seconds for record in found.values())
    took = {method: [one.seconds for (_, name), one in found.items() if name == method] for method in chosen.methods}
    missing = [method for method in chosen.methods if (replicate, method) not in found]
    round_ = sum(min(took[method]) if took[method] else 0.0 for method in missing)  # the first one also prepares
    return spent + round_ <= chosen.budget


# What the runs recommend ------------------------------------------------------------------------------------------


def scored(found: Mapping[tuple[int, str], Record]) -> dict[tuple[int, str], Record]:
    """The runs of the replicates that all methods have; methods from the best mean validation accuracy to the worst.

    Of equal ones the quicker comes first; the test accuracies play no part in the order.
    """
    methods = {method for _, method in found}
    shared = [one for one in sorted({one for one, _ in found}) if all((one, name) in found for name in methods)]
    runs = {name: [found[one, name] for one in shared] for name in methods}
    ranked = sorted(methods, key=lambda name: (-round(_validation(runs[name])[0], 6), _seconds(runs[name]), name))
    return {(one, name): found[one, name] for name in ranked if shared for one in shared}


def recommendation(found: Mapping[tuple[int, str], Record], val_images: int) -> list[str]:
    """Scores as a table, the method with the best mean validation accuracy, and the verdict of the test images.

    Args:
        found: as :func:`scored` gives it.
        val_images: number of validation images.
    """
    runs = {name: [run for (_, other), run in found.items() if other == name] for _, name in found}
    rows = [["", "validation %", "test %", "a run"]]
    for name, own in runs.items():
        tests = [run.accuracy for run in own]
        texts = [_mean(_validation(own)[1]), _mean(tests), duration(_seconds(own))]
        rows.append([display_name(name), *texts])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    best, count = display_name(next(iter(runs))), len({one for one, _ in found})
    over = "of one replicate, a guess" if count == 1 else f"over {count} replicates"
    return [
        *lines,
        "",
        f"Recommended: {best}, which has the highest validation accuracy {over}; one of the {val_images} validation "
        f"images is {100 / val_images:.2g} points.",
        f"On the test images, which played no part in this: {_verdict(found)}",
    ]


def _verdict(found: Mapping[tuple[int, str], Record]) -> str:
    """The verdict of these runs as one column of a table, in the methods' usual order."""
    methods = [name for name in METHOD_NAMES if any(name == other for _, other in found)]
    methods += sorted({name for _, name in found} - set(methods))
    first = next(iter(found.values()))
    units = tuple(sorted({one for one, _ in found}))
    spec = TableSpec("comparison", "Comparison", (first.data,), tuple(methods), (first.rate,), units)
    frame, _ = run_frame(list(found.values()))
    (verdict,) = verdicts(build_grid(spec, frame), "--replicates {stop}, with the --budget for it")
    return verdict.sentence


def _validation(runs: Sequence[Record]) -> tuple[float, list[float]]:
    values = [float(run.val_accuracy) for run in runs if run.val_accuracy is not None]
    return (statistics.mean(values) if values else 0.0), values


def _seconds(runs: Sequence[Record]) -> float:
    return statistics.median([run.seconds for run in runs]) if runs else 0.0


def _mean(values: Sequence[float]) -> str:
    std = spread(values, "sample")
    return f"{statistics.mean(values):.2f}" + (f" ± {std:.2f}" if std is not None else "")
