"""The largest comparison of methods that fits into a time budget."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cotune_bench.cli.plan import Cost
from cotune_bench.errors import UserError
from cotune_bench.reports.published import BASELINE, CHALLENGER
from cotune_bench.reports.recommendation import Runs
from cotune_bench.reports.status import duration
from cotune_bench.reports.tables import display_name

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
#: Share of the budget that is planned; the rest is for decoding, start-up and a busy machine.
USED = 0.8
#: Updates are cut to this share before replicates are, and replicates to this number before methods are.
LEAST_SHARE, LEAST_REPLICATES = 1 / 3, 2
#: Fewer updates than this train nothing.
LEAST_UPDATES = 100


@dataclass(frozen=True)
class Chosen:
    """What is run: every method with replicates 0, 1, ... and this many updates; ``cuts`` names what is left out.

    Attributes:
        seconds: that it is estimated to take, with the timing.
        budget: seconds.
        device: that it was timed on.
        timing: seconds of the budget spent on timing.
    """

    methods: list[str]
    replicates: int
    updates: int
    seconds: float
    budget: float
    device: str
    cuts: list[str]
    timing: float

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


def choose(costs: Mapping[str, Cost], *, replicates: int, budget: float, timing: float = 0.0) -> Chosen:
    """The largest comparison that fits: first fewer updates, then replicates, then methods, the slowest first.

    Fine-tuning, the baseline, and Co-Tuning are the last to stay.

    Args:
        costs: of a run of every wanted method, all of as many updates, in the order in which they are shown.
        replicates: wanted.
        budget: seconds, of which ``USED`` is planned.
        timing: seconds of the budget that are spent already.

    Raises:
        UserError: not even two methods with a replicate fit.
    """
    paces, updates = {name: cost.pace for name, cost in costs.items()}, next(iter(costs.values())).updates
    few, floor = min(LEAST_REPLICATES, replicates), min(LEAST_UPDATES, updates)
    share = max(round(LEAST_SHARE * updates), floor)
    methods = list(paces)
    candidates = [(tuple(methods), count, share) for count in range(replicates, few - 1, -1)]
    while len(methods) > 2:
        droppable = [one for one in methods if one not in (BASELINE, CHALLENGER)] or methods[1:]
        methods.remove(max(droppable, key=lambda one: share * paces[one].update + paces[one].prepare / few))
        candidates.append((tuple(methods), few, share))
    candidates += [(tuple(methods), few, floor), (tuple(methods), 1, floor)]
    for kept, count, least in candidates:
        fixed = timing + sum(count * costs[one].evaluation + paces[one].prepare for one in kept)
        update = sum(paces[one].update for one in kept)
        affordable = math.floor((USED * budget - fixed) / count / update)
        if affordable >= least:
            break
    else:
        raise UserError(
            f"the budget of {duration(budget)} is too short: {' and '.join(map(display_name, methods))} with {floor} "
            f"updates need {duration((fixed + floor * update) / USED)}: give more, or a smaller network "
            "(backbone=resnet18) or smaller pictures (protocol.resize, protocol.crop)"
        )
    used = min(updates, affordable)
    used = used if used == updates or used < LEAST_UPDATES else used // 10 * 10
    cuts = [f"{used:,} instead of {updates:,} updates"] * (used < updates)
    cuts += [f"{count} instead of {replicates} replicates"] * (count < replicates)
    cuts += [
        f"without {display_name(one)} ({pace.update:.2g} s an update, {duration(pace.prepare)} before)"
        for one, pace in paces.items()
        if one not in kept
    ]
    seconds = fixed + count * used * update
    return Chosen(list(kept), count, used, seconds, budget, paces[kept[0]].device, cuts, timing)


def has_time(chosen: Chosen, found: Runs, replicate: int) -> bool:
    """Whether a round of all methods fits in the rest of the budget, by the time that the finished runs took."""
    spent = chosen.timing + sum(record.seconds for record in found.values())
    missing = [method for method in chosen.methods if (replicate, method) not in found]
    took = {one: [record.seconds for (_, name), record in found.items() if name == one] for one in missing}
    return spent + sum(min(seconds, default=0.0) for seconds in took.values()) <= chosen.budget  # the first prepares
