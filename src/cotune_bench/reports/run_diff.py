"""How two runs differ: settings, inputs and environment, scores, and the update at which their curves part."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from cotune_bench.errors import UserError
from cotune_bench.storage.find_run import Run
from cotune_bench.storage.records import Record

SCORES = {"accuracy": "{:.2f} %", "nll": "{:.6g}", "val_accuracy": "{:.2f} %", "seconds": "{:.1f}"}
INPUTS = ("weights", "weights_sha256", "data_sha256", "train_images", "test_images")
ABSENT = "–"


@dataclass(frozen=True)
class Change:
    """A value that the two runs do not share, by its dotted name."""

    name: str
    first: str
    second: str


def difference_lines(first: Run, second: Run) -> tuple[list[str], bool]:
    """What the terminal shows of two runs, and whether, as promised, equal settings gave equal results."""
    if first.folder.resolve() == second.folder.resolve() and first.record == second.record:
        raise UserError(f"{first.key} is named twice: name two runs, or records, to compare")
    mine, theirs = _config(first), _config(second)
    settings, surroundings = changes(mine, theirs), changes(_surroundings(first.record), _surroundings(second.record))
    curves, parted = part(first.folder / "metrics.csv", second.folder / "metrics.csv")
    scores = _scores(first.record, second.record)
    lines = [f"first   {_name(first)}", f"second  {_name(second)}"]
    lines += _section("configuration", [_told(one) for one in settings])
    lines += _section("inputs and environment", [_told(one) for one in surroundings])
    lines += _section("result", [*scores, curves])
    whole = bool(first.record and second.record)
    same = not parted and (not whole or _values(first.record) == _values(second.record))
    verdict = _verdict(bool(settings), [one.name for one in surroundings], same, whole, first.key == second.key)
    return [*lines, "", verdict], bool(settings) or same


def changes(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[Change]:
    """Every leaf in which two nested mappings differ, sorted by dotted name; a dash where one has none."""
    found = []
    for name in sorted(first.keys() | second.keys()):
        mine, theirs = first.get(name, ABSENT), second.get(name, ABSENT)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            found += changes(mine, theirs, f"{prefix}{name}.")
        elif mine != theirs:
            found.append(Change(f"{prefix}{name}", str(mine), str(theirs)))
    return found


def part(first: Path, second: Path) -> tuple[str, bool]:
    """A line about where two ``metrics.csv`` part, and whether they do, in rows and columns that both have."""
    if first.resolve() == second.resolve():
        return "metrics.csv   not compared: both runs wrote to one folder, which keeps the last", False
    if absent := [str(path) for path in (first, second) if not path.exists()]:
        return f"metrics.csv   not compared: {' and '.join(absent)} missing", False
    mine, theirs = _rows(first), _rows(second)
    shared = [update for update in mine if update in theirs]
    for update in shared:
        names = [name for name, value in mine[update].items() if theirs[update].get(name, value) != value]
        if names:
            told = ", ".join(f"{name} {mine[update][name]} {theirs[update][name]}" for name in names)
            return f"metrics.csv   first differs at update {update}: {told}", True
    rest = "" if len(shared) == len(mine) == len(theirs) else f" of {len(mine)} and {len(theirs)}"
    return f"metrics.csv   equal in all {len(shared)} shared rows{rest}", False


def _rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["updates"]: row for row in csv.DictReader(file) if None not in row.values()}


def _config(run: Run) -> dict[str, Any]:
    if run.record:
        return run.record.config
    path = run.folder / "config.yaml"
    if not path.exists():
        raise UserError(f"{run.key} has neither a record nor {path}: run its cell again")
    return OmegaConf.to_container(OmegaConf.load(path))  # type: ignore[return-value]


def _surroundings(record: Record | None) -> dict[str, Any]:
    return {**{name: getattr(record, name) for name in INPUTS}, **record.environment} if record else {}


def _values(record: Record | None) -> tuple[float | None, ...]:
    return (record.accuracy, record.nll, record.val_accuracy) if record else ()


def _scores(first: Record | None, second: Record | None) -> list[str]:
    lines = []
    for name, form in SCORES.items():
        mine, theirs = (getattr(record, name, None) for record in (first, second))
        texts = [ABSENT if value is None else form.format(value) for value in (mine, theirs)]
        gap = "" if mine is None or theirs is None else "equal" if mine == theirs else f"{theirs - mine:+.6g}"
        lines.append(f"{name:12}  {texts[0]:>12}  {texts[1]:>12}  {gap}".rstrip())
    return lines


def _verdict(settings: bool, surroundings: list[str], same: bool, whole: bool, one_key: bool) -> str:
    if settings:
        return "Different settings: the results need not agree" + (", but they do." if same and whole else ".")
    what = "Same key" if one_key else "Same settings under another result version"
    if same and not whole:
        return f"{what}: the results should be identical; no difference so far, but not both are finished."
    if same:
        return f"{what}: the results should be identical, and they are."
    reason = f" What may explain it: {', '.join(surroundings)}." if surroundings else " Nothing recorded explains it."
    return f"{what}: the results should be identical, and they are not.{reason}"


def _name(run: Run) -> str:
    return f"{run.key} in {run.folder.parents[1]}" + (f", {run.record.finished}" if run.record else ", not finished")


def _told(one: Change) -> str:
    return f"{one.name:28}  {one.first}  ->  {one.second}"


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines or ["equal"])]
