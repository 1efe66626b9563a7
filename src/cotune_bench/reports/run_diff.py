"""How two runs differ: settings, inputs and environment, scores, and the update at which their curves part."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from cotune_bench.config.changed import leaves
from cotune_bench.errors import UserError
from cotune_bench.storage.find_run import Run
from cotune_bench.storage.records import Record

SCORES = {"accuracy": "{:.2f} %", "nll": "{:.6g}", "val_accuracy": "{:.2f} %", "seconds": "{:.1f}"}
INPUTS = ("weights", "weights_sha256", "data_sha256", "train_images", "test_images")
ABSENT = "–"


def difference_lines(first: Run, second: Run) -> tuple[list[str], bool]:
    """What the terminal shows of two runs, and whether, as promised, equal settings gave equal results."""
    if first.folder.resolve() == second.folder.resolve() and first.record == second.record:
        raise UserError(f"{first.key} is named twice: name two runs, or records, to compare")
    settings = changes(_config(first), _config(second))
    surroundings = changes(_surroundings(first.record), _surroundings(second.record))
    curves, parted = part(first.folder / "metrics.csv", second.folder / "metrics.csv")
    sections = {
        "configuration": [f"{name:28}  {one}  ->  {other}" for name, (one, other) in settings.items()],
        "inputs and environment": [f"{name:28}  {one}  ->  {other}" for name, (one, other) in surroundings.items()],
        "result": [*_scores(first.record, second.record), curves],
    }
    lines = [f"first   {_name(first)}", f"second  {_name(second)}"]
    for title, found in sections.items():
        lines += ["", title, *(f"  {line}" for line in found or ["equal"])]
    finished = bool(first.record and second.record)
    same = not parted and (not finished or _values(first.record) == _values(second.record))
    what = "Same key" if first.key == second.key else "Same settings under another result version"
    if settings:
        verdict = "Different settings: the results need not agree" + (", but they do." if same and finished else ".")
    elif not same:
        why = f"What may explain it: {', '.join(surroundings)}." if surroundings else "Nothing recorded explains it."
        verdict = f"{what}: the results should be identical, and they are not. {why}"
    elif finished:
        verdict = f"{what}: the results should be identical, and they are."
    else:
        verdict = f"{what}: the results should be identical; no difference so far, but not both are finished."
    return [*lines, "", verdict], bool(settings) or same


def changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Every leaf in which two nested mappings differ, by its dotted name, sorted; a dash where one has none."""
    mine, theirs = dict(leaves(first)), dict(leaves(second))
    pairs = {name: (mine.get(name, ABSENT), theirs.get(name, ABSENT)) for name in sorted(mine.keys() | theirs.keys())}
    return {name: (str(one), str(other)) for name, (one, other) in pairs.items() if one != other}


def part(first: Path, second: Path) -> tuple[str, bool]:
    """A line about where two ``metrics.csv`` part, and whether they do, in rows and columns that both have."""
    if first.resolve() == second.resolve():
        return "metrics.csv   not compared: both runs wrote to one folder, which keeps the last", False
    if absent := [str(path) for path in (first, second) if not path.exists()]:
        return f"metrics.csv   not compared: {' and '.join(absent)} missing", False
    mine, theirs = _rows(first), _rows(second)
    shared = [update for update in mine if update in theirs]
    for update in shared:
        pairs = {name: (value, theirs[update].get(name, value)) for name, value in mine[update].items()}
        if different := ", ".join(f"{name} {one} {other}" for name, (one, other) in pairs.items() if one != other):
            return f"metrics.csv   first differs at update {update}: {different}", True
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


def _name(run: Run) -> str:
    return f"{run.key} in {run.folder.parents[1]}" + (f", {run.record.finished}" if run.record else ", not finished")
