"""Methods compared on one's own images within a time budget: what fits, and what the runs recommend."""

import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cotune_bench.config import compose_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.files import write_atomically
from cotune_bench.planning import Pace
from cotune_bench.records import Record
from cotune_bench.reports.compare import BASELINE, CHALLENGER, LEVEL, Difference, holm, paired
from cotune_bench.reports.grid import spread
from cotune_bench.reports.status import duration
from cotune_bench.reports.tables import display_name

#: Share of the budget that is planned; the rest is for decoding, start-up and a busy machine.
USED = 0.8
#: Updates are cut to this share of the wanted before seeds are, and seeds to this number before methods are.
LEAST_SHARE, LEAST_SEEDS = 1 / 3, 2
#: Fewer updates than this train nothing.
LEAST_UPDATES = 100
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Chosen:
    """What is run: every method with seeds 0, 1, ... and this many updates; ``cuts`` says what was left out, and why.

    ``seconds`` is what it will take, ``budget`` what it may, ``device`` where it was timed, ``timing`` the seconds of
    the budget which that took.
    """

    methods: tuple[str, ...]
    seeds: int
    updates: int
    seconds: float
    budget: float
    device: str
    cuts: tuple[str, ...] = ()
    timing: float = 0.0

    def cells(self) -> list[tuple[int, str]]:
        """(seed, method) of every run, in the order in which they are made: all methods for each seed."""
        return [(seed, method) for seed in range(self.seeds) for method in self.methods]

    def lines(self) -> list[str]:
        """What is said before it starts."""
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return [
            f"plan: {', '.join(map(display_name, self.methods))}; {seeds}, {self.updates:,} updates each: "
            f"{len(self.methods) * self.seeds} runs, about {duration(self.seconds)} of {duration(self.budget)} "
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
    seeds: int,
    budget: float,
    timing: float = 0.0,
) -> Chosen:
    """The largest comparison that fits: first fewer updates, then fewer seeds, then fewer methods, the slowest first.

    Fine-tuning, the baseline, and Co-Tuning are the last to stay.

    Args:
        paces: of every wanted method, in the order in which they are shown.
        evaluations: seconds of all that is evaluated in a run.
        updates, seeds: wanted.
        budget: seconds, of which ``USED`` is planned.
        timing: seconds of the budget that are gone already.

    Raises:
        UserError: not even two methods with a seed fit.
    """
    methods, least = list(paces), max(round(LEAST_SHARE * updates), min(LEAST_UPDATES, updates))
    dropped: list[str] = []
    count = seeds
    while True:
        fixed = timing + sum(count * evaluations[one] + paces[one].prepare for one in methods)
        affordable = math.floor((USED * budget - fixed) / count / sum(paces[one].update for one in methods))
        if affordable >= least:
            break
        droppable = [one for one in methods if one not in (BASELINE, CHALLENGER)] or methods[1:]
        if count > min(LEAST_SEEDS, seeds):
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
    cuts += [f"{count} instead of {seeds} seeds"] * (count < seeds)
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
        raise UserError(f"{path} cannot be read ({error}): delete it to plan anew") from error


def overrides_of(base: Sequence[str], chosen: Chosen, seed: int, method: str) -> list[str]:
    """The overrides of one run."""
    return [*base, f"method={method}", f"seed={seed}", f"protocol.updates={chosen.updates}"]


def keys_of(base: Sequence[str], chosen: Chosen) -> dict[tuple[int, str], str]:
    """The key of every run."""
    return {cell: run_key(compose_config(overrides_of(base, chosen, *cell))) for cell in chosen.cells()}


def has_time(chosen: Chosen, found: Mapping[tuple[int, str], Record], seed: int) -> bool:
    """Whether a round of all methods fits in what is left of the budget, by what the finished runs took."""
    spent = chosen.timing + sum(record.seconds for record in found.values())
    took = {method: [one.seconds for (_, name), one in found.items() if name == method] for method in chosen.methods}
    missing = [method for method in chosen.methods if (seed, method) not in found]
    round_ = sum(min(took[method]) if took[method] else 0.0 for method in missing)  # the first one also prepares
    return spent + round_ <= chosen.budget


# What the runs recommend ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """One method over the seeds that all methods have: validation and test accuracies in percent, seconds of a run.

    ``behind`` is the best method's validation accuracy less this one's, seed by seed; ``p`` is corrected by Holm.
    """

    method: str
    validation: tuple[float, ...]
    test: tuple[float, ...]
    seconds: float
    behind: Difference | None = None
    p: float | None = None

    @property
    def tied(self) -> bool:
        """Whether the best method's lead over this one may be chance."""
        return self.p is None or self.p >= LEVEL


def scores(found: Mapping[tuple[int, str], Record]) -> list[Score]:
    """Methods from the best on validation to the worst, of equal ones the quicker first.

    Seeds that not all methods have are left out; the test accuracies play no part in the order.
    """
    methods = list(dict.fromkeys(method for _, method in found))
    seeds = [seed for seed in sorted({seed for seed, _ in found}) if all((seed, one) in found for one in methods)]
    if not seeds:
        return []
    ranked = []
    for method in methods:
        runs = [found[seed, method] for seed in seeds]
        validation = tuple(float(run.val_accuracy) for run in runs if run.val_accuracy is not None)
        seconds = statistics.median(run.seconds for run in runs)
        ranked.append(Score(method, validation, tuple(run.accuracy for run in runs), seconds))
    ranked.sort(key=lambda one: (-round(statistics.mean(one.validation), 6), one.seconds))
    best, *others = ranked
    behind = [paired([a - b for a, b in zip(best.validation, one.validation, strict=True)]) for one in others]
    corrected = holm([one and one.p for one in behind])
    return [
        best,
        *(replace(one, behind=gap, p=p) for one, gap, p in zip(others, behind, corrected, strict=True)),
    ]


def recommendation(ranked: Sequence[Score], val_images: int) -> list[str]:
    """The scores as a table, what to use, and how sure that is."""
    best, *others = ranked
    count = len(best.validation)
    interval = ", 95 % interval" if count > 1 else ""
    rows = [["", "validation %", "test %", f"behind the best{interval}", "", "a run"]]
    for one in ranked:
        gap, reading = "", ""
        if one.behind is not None:
            bounds = one.behind.interval()
            gap = f"{one.behind.mean:.2f}" + (f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else "")
            reading = "tie" if one.tied else "clear"
            reading = reading if count > 1 else ""  # one run each tells neither
        values = [_mean(one.validation), _mean(one.test), gap, reading, duration(one.seconds)]
        rows.append([display_name(one.method), *values])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    how = "of one run each" if count == 1 else f"over {count} seeds, paired t intervals, ties after Holm's correction"
    return [
        *lines,
        "",
        _verdict(best, others),
        f"Chosen by validation accuracy {how}; one of the {val_images} validation images is {100 / val_images:.2g} "
        "points. Test accuracy was read once for each run, played no part, and is what to report. Other images could "
        "give another order: one split was used.",
    ]


def _verdict(best: Score, others: Sequence[Score]) -> str:
    name, ties = display_name(best.method), [one for one in others if one.tied]
    if not others:
        return f"Recommended: {name}, the only method that was run."
    if len(best.validation) == 1:
        return (
            f"Recommended: {name}, on the word of a single seed: a guess. More seeds (--seeds, --budget) would tell."
        )
    if not ties:
        return f"Recommended: {name}. Its lead over every other method is more than chance."
    quick = min([best, *ties], key=lambda one: one.seconds)
    tied = ", ".join(display_name(one.method) for one in ties)
    hint = "" if quick is best else f" The quickest of them is {display_name(quick.method)}."
    return f"Recommended: {name}, but {tied} may be as good: a tie, as far as these seeds tell.{hint}"


def _mean(values: Sequence[float]) -> str:
    std = spread(values, "sample")
    return f"{statistics.mean(values):.2f}" + (f" ± {std:.2f}" if std is not None else "")
