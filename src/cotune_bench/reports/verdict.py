"""Placeholder."""

from dataclasses import dataclass

from cotune_bench.reports.grid import Grid


@dataclass(frozen=True)
class Verdict:
    """Placeholder."""

    sentence: str
    best: tuple[str, ...] = ()
    clear: bool = False


def verdicts(grid: Grid) -> list[Verdict]:
    """Placeholder."""
    return []


def table_sentence(grid: Grid) -> str:
    """Placeholder."""
    return "No verdict."
