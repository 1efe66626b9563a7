"""Which method is best, in words: the only place where a verdict is worded (docs/verdict.md)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cotune_bench.config import choices
from cotune_bench.errors import count
from cotune_bench.reports.captions import listed, own_of_replicates
from cotune_bench.reports.columns import Found, find_column
from cotune_bench.reports.grid import Grid
from cotune_bench.reports.statistics import LEVEL, Pair, best_set, compare_all, least_difference, replicates_needed
from cotune_bench.reports.tables import display_name, display_rate

POINTS = 1.0  # the difference that the number of replicates is worked out for
SUGGESTED = 10  # replicates for a table that has none


@dataclass(frozen=True)
class Verdict(Found):
    """What one column says.

    Attributes:
        best: the methods that no other is shown to beat; empty if nothing can be said.
        pairs: every pair of contenders, with simultaneous intervals.
        sentence: all of it in words.
    """

    best: tuple[str, ...]
    pairs: tuple[Pair, ...]
    sentence: str

    @property
    def clear(self) -> bool:
        """Whether one method is shown to beat all others, of which there is at least one."""
        return len(self.best) == 1


def verdicts(grid: Grid, command: str | None = None) -> list[Verdict]:
    """The verdict of every column that has runs of contenders, by data set and rate; none from training seeds.

    ``command`` runs more replicates, with ``{stop}`` for their number; by default the table's.
    """
    if grid.spec.unit == "seed":
        return []
    columns = [find_column(grid, data, rate) for data in grid.spec.data for rate in grid.spec.rates]
    more = command or _command(grid, grid.spec.units[0])
    return [_verdict(grid, found, more) for found in columns if found.methods]


def _command(grid: Grid, first: int) -> str:
    axis = f'replicate="range({first},{{stop}})"'
    return f"cotune-bench run table={grid.spec.name} {axis}" if grid.spec.name in choices("table") else axis


def _verdict(grid: Grid, found: Found, command: str) -> Verdict:
    pairs: tuple[Pair, ...] = ()
    best: tuple[str, ...] = ()
    if len(found.methods) < 2:
        text = f"only {display_name(next(iter(found.methods)))} has runs, so there is nothing to compare."
    elif len(found.units) < 2:
        text = f"no verdict: {count(len(found.units), 'replicate')} with runs of all methods, 2 are needed."
    else:
        pairs = compare_all(found.column)
        best = best_set(found.methods, pairs)
        text = _clear(grid, found, best[0], pairs) if len(best) == 1 else _open(grid, found, best, command)
    if found.clashing:
        names = f"Replicate{'s' * (len(found.clashing) > 1)} {listed([str(unit) for unit in found.clashing])}"
        text += f" {names} left out: the methods had different training images or source weights."
    sentence = f"{found.data}, {display_rate(found.rate)}: {text}"
    return Verdict(**vars(found), best=best, pairs=pairs, sentence=sentence)


def _clear(grid: Grid, found: Found, best: str, pairs: Sequence[Pair]) -> str:
    """The one method that is not beaten, and its smallest lead of those that are shown directly.

    A lead over a method that a beaten one beats follows from these two.
    """
    shown = [pair for pair in pairs if pair.first == best and pair.p < LEVEL]
    ahead = min(shown, key=lambda pair: pair.difference)
    lead = f"{ahead.difference:+.1f} points over {display_name(ahead.second)}, {interval_text(ahead)}"
    if len(found.methods) == 2:
        return f"{display_name(best)} is best: {lead} ({_basis(grid, found)})."
    return f"{display_name(best)} is best: it beats every other method (smallest lead {lead}; {_basis(grid, found)})."


def _open(grid: Grid, found: Found, best: Sequence[str], command: str) -> str:
    beaten = [display_name(method) for method in found.methods if method not in best]
    basis, more = _basis(grid, found), _more(found, grid.spec.units[0], command)
    if not beaten:
        return f"no method is shown to be better than another ({basis}). {more}"
    verb = "is" if len(beaten) == 1 else "are"
    names = [display_name(method) for method in best]
    return f"{listed(names, 'or')} may be best ({basis}; {listed(beaten)} {verb} beaten). {more}"


def _basis(grid: Grid, found: Found) -> str:
    """How many replicates, and what the statement is about where it is less than usual."""
    n, asked = len(found.units), len(grid.spec.units)
    text = count(n, "replicate") if n == asked else f"{n} of {asked} replicates, those of all methods"
    return text + (", for these very test images" if found.column.design == "fixed" else "")


def _more(found: Found, first: int, command: str) -> str:
    """What it takes to settle a difference of ``POINTS`` between the methods that may be best."""
    n, needed = len(found.units), replicates_needed(found.column, POINTS)
    points = f"{POINTS:g} point"
    if needed is None:
        least = least_difference(found.column)
        return f"No number of replicates would settle {points}: the test images settle {least:.1f} points at best."
    if needed <= n:
        return f"A difference of {points} would probably have been found in the average pair."
    more = count(needed - n, "more replicate")
    return f"{more} would probably settle {points} in the average pair: {command.format(stop=first + needed)}."


def interval_text(pair: Pair) -> str:
    """The simultaneous 95 % interval of a difference in points."""
    return f"[{pair.low:+.1f}, {pair.high:+.1f}]"


# The whole table ----------------------------------------------------------------------------------------------------


def table_sentence(grid: Grid) -> str:
    """What the whole table says: in how many columns which method is best or may be, on how many replicates."""
    if not grid.runs():
        return "No run has finished yet."
    if grid.spec.unit == "seed":
        return (
            "No verdict: the repetitions are training seeds on one split, whose spread contains neither split and "
            f"sample nor the source network. Replicates give one: {_command(grid, 0).format(stop=SUGGESTED)}."
        )
    judged = [one for one in verdicts(grid) if one.best]
    if not judged:
        return "No verdict yet: no column has 2 methods with 2 common replicates."
    own = f" Each column keeps its {100 * LEVEL:g} % on its own." if len(judged) > 1 else ""
    counts = sorted({len(one.units) for one in judged})
    replicates = f"{counts[0]} to " * (len(counts) > 1) + count(counts[-1], "replicate")
    return (
        f"Of {count(len(judged), 'column')} ({replicates}): {_standings(grid, judged)}. "
        f"A replicate has its own {own_of_replicates(grid)}, the same for all methods.{own}"
    )


def _standings(grid: Grid, judged: Sequence[Verdict]) -> str:
    """In how many columns each method is best or may be, those that are best most often first."""
    if all(set(one.best) == set(one.methods) for one in judged):
        return "no method is shown to be better than another"
    clear = Counter(one.best[0] for one in judged if one.clear)
    maybe = Counter(method for one in judged if not one.clear for method in one.best)
    methods = [method for method in grid.spec.methods if any(method in one.methods for one in judged)]
    parts, never = [], []
    for method in sorted(methods, key=lambda one: (-clear[one], -maybe[one])):
        places = {"is best in": clear[method], "may be best in": maybe[method]}
        said = " and ".join(f"{how} {n}" for how, n in places.items() if n)
        (parts if said else never).append(f"{display_name(method)} {said}".rstrip())
    return "; ".join([*parts, f"{listed(never)} in none"] if never else parts)
