"""Tables of people's own images, which no yaml names: made from whatever records exist."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from cotune_bench.config import CONF
from cotune_bench.config.overrides import path_override
from cotune_bench.config.own_images import own_images
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.page.cells import leaves
from cotune_bench.reports.status import CellStatus, TableStatus
from cotune_bench.reports.tables import METHOD_NAMES
from cotune_bench.storage.files import digest
from cotune_bench.storage.records import Record, RecordStore

NOTE = "Trade-offs of the methods are not tuned on these images, unless a row names its own."
#: Settings that a label names before all others.
FIRST = ("data.root", "backbone.name", "protocol.name", "protocol.updates")
#: Settings that have overrides of their own, or none.
NOT_GIVEN = ("reader", "name", "root", "split_seed", "rate")


@dataclass(frozen=True)
class OwnCell(CellStatus):
    """A cell of own images, with the overrides that run it."""

    given: tuple[str, ...] = ()

    @property
    def overrides(self) -> list[str]:
        """The command-line overrides that choose this cell."""
        return [*self.given, f"rate={self.rate:g}", f"{self.axis}={self.unit}"]


@dataclass(frozen=True)
class Labelled:
    """A record with the labels of its block of rows, ``data``, and of its row, ``method``."""

    record: Record
    data: str
    method: str


def own_tables(results: Path) -> tuple[list[tuple[Grid, TableStatus]], list[str]]:
    """Tables for every own data set that has records, one of them all if there are several, and lines of warning.

    Runs whose seed and split differ together are replicates and have a table of their own, runs of several seeds
    on one split another. Runs share a block of rows if data set, backbone, protocol and, for seeds, split are the
    same, and a row if the method's values are.
    """
    records, damaged = RecordStore(results).read()
    if outdated := sum("_target_" in record.config.get("data", {}) for record in records):
        damaged.append(
            f"{outdated} records in {results} have keys of an earlier version, and no table finds them: "
            f"cotune-bench results rekey results={results} gives them today's"
        )
    mine = [record for record in records if own_images(record.config.get("data", {}))]
    tables = []
    for unit, chosen in _by_unit(mine).items():
        blocks = _labels([(record.data, _block(record, unit)) for record in chosen])
        rows = _labels([(record.method, record.config["method"]) for record in chosen])
        members = [Labelled(*one) for one in zip(chosen, blocks, rows, strict=True)]
        names = sorted({record.data for record in chosen})
        asked = [(f"own-{name}", name, [one for one in members if one.record.data == name]) for name in names]
        if len(names) > 1:
            asked.append(("own_all", ", ".join(names), members))
        for name, title, own in asked:
            ending = "-replicates" if unit == "replicate" else ""
            grid, cut = _grid(name + ending, f"Own images: {title}", unit, own)
            tables.append((grid, _status(grid, own, results)))
            damaged += cut
    return tables, list(dict.fromkeys(damaged))


def _by_unit(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records for the tables of seeds and of replicates.

    A replicate has the same number for all its seeds, and its setting has several such numbers. A table of seeds has
    all other records, and replicates on whose split there are other seeds.
    """
    source_seeds = {one.key: one.config["backbone"].get("seed", one.seed) for one in records}
    alike = [one for one in records if one.seed == one.config["split_seed"] == source_seeds[one.key]]
    numbers = Counter(block for block, _ in {(digest(_block(one, "replicate")), one.seed) for one in alike})
    replicates = [one for one in alike if numbers[digest(_block(one, "replicate"))] > 1]
    keys = {one.key for one in replicates}
    splits = {digest(_block(one, "seed")) for one in records if one.key not in keys}
    return {"seed": [one for one in records if digest(_block(one, "seed")) in splits], "replicate": replicates}


def _block(record: Record, unit: str) -> dict:
    """Settings that the runs of a block of rows share."""
    config = record.config
    if unit == "seed":
        return {name: config[name] for name in ("data", "backbone", "protocol", "split_seed")}
    backbone = {name: value for name, value in config["backbone"].items() if name != "seed"}
    return {"data": config["data"], "backbone": backbone, "protocol": config["protocol"]}


def _labels(named: Sequence[tuple[str, Mapping]]) -> Iterable[str]:
    """Labels of (name, settings): the name, and in brackets as few settings as separate those of one name."""
    flat = [(name, {setting: str(value) for setting, value in leaves(config)}) for name, config in named]
    chosen: dict[str, list[str]] = {}
    for name in {name for name, _ in flat}:
        kinds = pd.DataFrame([values for own, values in flat if own == name])
        chosen[name], found = [], 1
        for setting in sorted(kinds, key=lambda one: (FIRST.index(one) if one in FIRST else len(FIRST), one)):
            if (count := len(kinds.drop_duplicates([*chosen[name], setting]))) > found:
                chosen[name].append(setting)
                found = count
    for name, values in flat:
        shown = ", ".join(f"{setting.rpartition('.')[2]}={values.get(setting)}" for setting in chosen[name])
        yield f"{name} ({shown})" if shown else name


def _grid(name: str, title: str, unit: str, members: Sequence[Labelled]) -> tuple[Grid, list[str]]:
    known = list(METHOD_NAMES)
    methods = {one.method: known.index(one.record.method) if one.record.method in known else 99 for one in members}
    spec = TableSpec(
        name=name,
        title=title,
        data=tuple(sorted({one.data for one in members})),
        methods=tuple(sorted(methods, key=lambda row: (methods[row], row))),
        rates=tuple(sorted({one.record.rate for one in members})),
        units=tuple(sorted({one.record.seed for one in members})),
        unit=unit,
        note=NOTE,
    )
    frame, cut = run_frame([one.record for one in members])
    places = {one.record.key: one for one in members}
    frame["data"] = [places[key].data for key in frame["key"]]
    frame["method"] = [places[key].method for key in frame["key"]]
    return build_grid(spec, frame), cut


def _status(grid: Grid, members: Sequence[Labelled], results: Path) -> TableStatus:
    blocks = {one.data: one.record.config for one in members}
    rows = {one.method: one.record.config["method"] for one in members}
    done = {(run.data, run.method, run.rate, run.unit) for run in grid.runs()}
    spec, cells = grid.spec, []
    for data, method, rate, unit in product(spec.data, spec.rows, spec.rates, spec.units):
        given = overrides_of({**blocks[data], "method": rows[method]}, spec.unit)
        state = "done" if (data, method, rate, unit) in done else "missing"
        cells.append(OwnCell(data, method, rate, unit, state, axis=spec.unit, given=given))
    return TableStatus(spec.name, str(results), cells)


def overrides_of(config: Mapping, unit: str) -> tuple[str, ...]:
    """The overrides that give a run's configuration again; without rate and what the unit sets."""
    data = config["data"]
    given = [f"data={data['reader']}", path_override("data.root", data["root"]), f"data.name={data['name']}"]
    given += _changed_values("data", data["reader"], data)
    for group in ("method", "backbone", "protocol"):
        name, values = config[group]["name"], dict(config[group])
        if unit == "replicate":
            values.pop("seed", None)  # of a backbone
        given += [f"{group}={name}", *_changed_values(group, name, values)]
    return (*given, *([f"split_seed={config['split_seed']}"] if unit == "seed" and config["split_seed"] else []))


def _changed_values(group: str, name: str, values: Mapping) -> list[str]:
    """Overrides for the values that are not those of the group's yaml, or that it computes."""
    path = CONF / group / f"{name}.yaml"
    yaml: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {}
    usual = {**yaml, "precision": "fp32"}
    changed = {one: value for one, value in values.items() if one not in NOT_GIVEN and usual.get(one) != value}
    texts = {one: "null" if value is None else str(value).replace(" ", "") for one, value in changed.items()}
    return [("" if one == "precision" else f"{group}.") + f"{one}={text}" for one, text in texts.items()]
