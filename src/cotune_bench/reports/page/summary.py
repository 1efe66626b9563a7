"""What a table says, in plain words: what was run, what is best, how sure that is, and what is missing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from cotune_bench.reports.compare import LEVEL, Difference, compare, holm, offsets, paired
from cotune_bench.reports.grid import Cell, Grid
from cotune_bench.reports.status import TableStatus
from cotune_bench.reports.tables import cell_text, display_name, display_rate

LEADS = (
    "Lead: mean difference in points between the highest mean and the next over the seeds that both have, with its "
    "95 % paired t interval; p: two-sided paired t test after Holm's correction over the columns of this table. "
    "clear: p < 0.05; open: more seeds may change the order. The best was chosen by the same runs, which favours it."
)


@dataclass(frozen=True)
class Lead:
    """The highest shown mean of one column, ``best`` (several are a tie), and how far it is ahead of the next."""

    best: tuple[Cell, ...]
    second: Cell | None
    difference: Difference | None
    p_holm: float | None = None

    @property
    def verdict(self) -> str:
        """``clear``, ``open``, ``tie``, ``alone`` (no other method has runs) or ``not decidable``."""
        if len(self.best) > 1:
            return "tie"
        if self.second is None:
            return "alone"
        if self.p_holm is None:
            return "not decidable"
        return "clear" if self.p_holm < LEVEL else "open"


def leads(grid: Grid) -> list[Lead]:
    """The lead in every column that has runs, by data set and rate; p values are corrected over all of them."""
    found = []
    for data in grid.spec.data:
        for rate in grid.spec.rates:
            column = [cell for method in grid.spec.methods if (cell := grid.cell(data, method, rate)).n]
            if column:
                found.append(_lead(column))
    corrected = holm([lead.difference and lead.difference.p for lead in found])
    return [Lead(lead.best, lead.second, lead.difference, p) for lead, p in zip(found, corrected, strict=True)]


def _lead(column: Sequence[Cell]) -> Lead:
    best = [cell for cell in column if cell.best]
    others = [cell for cell in column if not cell.best]
    if len(best) > 1 or not others:
        return Lead(tuple(best), None, None)
    second = max(others, key=lambda cell: cell.mean or 0.0)
    theirs = dict(second.values)
    return Lead(
        (best[0],), second, paired([value - theirs[seed] for seed, value in best[0].values if seed in theirs])
    )


def lead_rows(found: Sequence[Lead]) -> list[list[str]]:
    """A header and one row for each column of the table."""
    rows = [["Data set", "Rate", "Best", "Accuracy (%)", "Next", "Lead", "95 % interval", "p", "Reading"]]
    for lead in found:
        cell, bounds = lead.best[0], lead.difference and lead.difference.interval()
        rows.append(
            [
                cell.data,
                display_rate(cell.rate),
                ", ".join(display_name(one.method) for one in lead.best),
                cell_text(cell, best="{}"),
                display_name(lead.second.method) if lead.second else "–",
                f"{lead.difference.mean:+.2f}" if lead.difference else "–",
                f"[{bounds[0]:+.2f}, {bounds[1]:+.2f}]" if bounds else "–",
                "–" if lead.p_holm is None else "<0.001" if lead.p_holm < 0.001 else f"{lead.p_holm:.3f}",
                lead.verdict,
            ]
        )
    return rows


def sentences(grid: Grid, paper: str | None, status: TableStatus) -> list[tuple[str, str]]:
    """Questions and their answers."""
    spec, found = grid.spec, leads(grid)
    runs = sum(cell.n for cell in grid.cells)
    asked = sum(cell.expected for cell in grid.cells)
    told = [
        (
            "What was run",
            f"{runs} of {asked} runs: {_listed([display_name(method) for method in spec.methods])} "
            f"on {_listed(spec.data)}, at {_listed([display_rate(rate) for rate in spec.rates])} of the training "
            f"images, {_seeds(spec.units)}.",
        ),
        ("What is best", _best(found)),
        ("How sure", _sure(found)),
    ]
    if paper:
        told.append(("Published numbers", _verdicts(grid, paper)))
    return [*told, ("What is missing", _missing(asked - runs, grid, status))]


def _best(found: Sequence[Lead]) -> str:
    if not found:
        return "No run has finished yet."
    counts = Counter(display_name(cell.method) for lead in found for cell in lead.best)
    told = _listed([f"{name} in {count}" for name, count in counts.most_common()])
    ties = ", ties counting for each" if any(len(lead.best) > 1 for lead in found) else ""
    return f"Highest mean accuracy, of {_plural(len(found), 'column')}: {told}{ties}."


def _sure(found: Sequence[Lead]) -> str:
    counts = Counter(lead.verdict for lead in found)
    if not found:
        return "Nothing can be said without runs."
    text = f"The lead over the next method is statistically clear in {counts['clear']} of {len(found)} columns"
    rest = [
        f"{counts[verdict]} {verdict}" for verdict in ("open", "tie", "not decidable", "alone") if counts[verdict]
    ]
    return text + (f"; the others: {', '.join(rest)}." if rest else ".")


def _verdicts(grid: Grid, paper: str) -> str:
    comparisons = compare(grid, paper)
    counts = Counter(one.verdict for one in comparisons if one.verdict and one.ours)
    random = counts.pop("random weights", 0)
    aside = f" {_plural(random, 'cell')} with random weights cannot be compared." if random else ""
    if not counts:
        return "No cell has both values yet." + aside
    words = {"open": "no difference shown"}
    told = _listed([f"{words.get(verdict, verdict)} in {count}" for verdict, count in sorted(counts.items())])
    means = ", ".join(
        f"{display_name(method)} {fmean(values):+.2f}" for method, values in offsets(comparisons).items()
    )
    return f"Of {_plural(counts.total(), 'cell')} with both values: {told}. Mean difference: {means} points." + aside


def _missing(count: int, grid: Grid, status: TableStatus) -> str:
    if not count:
        return "Nothing: every cell has all its seeds."
    failed = sum(cell.state == "failed" for cell in status.cells)
    cells = sum(cell.n < cell.expected for cell in grid.cells)
    return f"{_plural(count, 'run')}, in {_plural(cells, 'cell')}" + (
        f"; {failed} of them failed." if failed else "."
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seeds' if len(seeds) > 1 else 'seed'} {_listed([str(seed) for seed in seeds])}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
