"""Tables of people's own images, which no yaml names: made from whatever records exist."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress, product
from pathlib import Path
from typing import Any

import pandas as pd

from cotune_bench.config.changed import leaves
from cotune_bench.config.keys import batch_norm_overrides
from cotune_bench.config.overrides import path_override
from cotune_bench.config.own_images import own_images
from cotune_bench.reports.frame import run_frame, usual_values
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.status import CellStatus, TableStatus
from cotune_bench.reports.tables import usual_place
from cotune_bench.storage.files import digest
from cotune_bench.storage.records import Record, RecordStore

NOTE = "Trade-offs of the methods are not tuned on these images, unless a row names its own."
#: Settings that a label names before all others.
FIRST = ("data.root", "backbone.name", "protocol.name", "protocol.updates")
#: Settings that have overrides of their own, or none.
NOT_GIVEN = ("reader", "name", "root", "split_seed", "rate")

Member = tuple[Record, str, str]  # with the labels of its block of rows and of its row


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
    tables = []
    for unit, chosen in _by_unit([one for one in records if own_images(one.config.get("data", {}))]).items():
        blocks = _labels([(one.data, _block(one, unit)) for one in chosen])
        rows = _labels([(one.method, one.config["method"]) for one in chosen])
        members = list(zip(chosen, blocks, rows, strict=True))
        names = sorted({one.data for one in chosen})
        asked = [(f"own-{name}", name, [one for one in members if one[0].data == name]) for name in names]
        if len(names) > 1:
            asked.append(("own_all", ", ".join(names), members))
        for name, title, own in asked:
            ending = "-replicates" if unit == "replicate" else ""
            grid, status, cut = _table(name + ending, f"Own images: {title}", unit, own, results)
            tables.append((grid, status))
            damaged += cut
    return tables, list(dict.fromkeys(damaged))


def _by_unit(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records for the tables of seeds and of replicates.

    A replicate has the same number for all its seeds, and its setting has several such numbers. A table of seeds has
    all other records, and replicates on whose split there are other seeds.
    """
    splits, settings = ([digest(_block(one, unit)) for one in records] for unit in ("seed", "replicate"))
    alike = [one.seed == one.config["split_seed"] == one.config["backbone"].get("seed", one.seed) for one in records]
    numbers = {(block, one.seed) for block, one in compress(zip(settings, records, strict=True), alike)}
    several = Counter(block for block, _ in numbers)
    replicates = [same and several[block] > 1 for block, same in zip(settings, alike, strict=True)]
    of_seeds = {block for block, replicate in zip(splits, replicates, strict=True) if not replicate}
    chosen = {"seed": [block in of_seeds for block in splits], "replicate": replicates}
    return {unit: list(compress(records, taken)) for unit, taken in chosen.items()}


def _block(record: Record, unit: str) -> dict[str, Any]:
    """Settings that the runs of a block of rows share; weights by file name and contents, without a path."""
    config, backbone = record.config, dict(record.config["backbone"])
    if (path := Path(backbone.get("weights", ""))).suffix:
        backbone["weights"] = f"{path.stem} {record.weights_sha256[:8]}"
    shared = {"data": config["data"], "backbone": backbone, "protocol": config["protocol"]}
    shared["batch_norm_parts"] = config.get("batch_norm_parts", 1)
    if unit == "seed":
        return shared | {"split_seed": config["split_seed"]}
    backbone.pop("seed", None)
    return shared


def _labels(named: Sequence[tuple[str, Mapping]]) -> list[str]:
    """Labels of (name, settings): the name, and in brackets as few settings as separate those of one name."""
    flat = pd.DataFrame([{one: str(value) for one, value in leaves(settings)} for _, settings in named])
    labels = pd.Series([name for name, _ in named], dtype=object)
    for _, own in flat.groupby(labels.copy()):
        chosen, found = [], 1
        for setting in sorted(own, key=lambda one: (FIRST.index(one) if one in FIRST else len(FIRST), one)):
            if (count := len(own.drop_duplicates([*chosen, setting]))) > found:
                chosen.append(setting)
                found = count
        for place, values in own[chosen].iterrows() if chosen else ():
            shown = ", ".join(f"{one.rpartition('.')[2]}={values[one]}" for one in chosen)
            labels[place] += f" ({shown})"
    return list(labels)


def _table(
    name: str, title: str, unit: str, members: Sequence[Member], results: Path
) -> tuple[Grid, TableStatus, list[str]]:
    """Grid and states of a table, and lines on records that are left out."""
    blocks, rows = {block: one for one, block, _ in members}, {row: one for one, _, row in members}
    spec = TableSpec(
        name=name,
        title=title,
        data=tuple(sorted(blocks)),
        methods=tuple(sorted(rows, key=lambda row: (*usual_place(rows[row].method), row))),
        rates=tuple(sorted({one.rate for one, _, _ in members})),
        units=tuple(sorted({one.seed for one, _, _ in members})),
        unit=unit,
        note=NOTE,
    )
    frame, cut = run_frame([one for one, _, _ in members])
    labels = {one.key: (block, row) for one, block, row in members}
    frame[["data", "method"]] = [labels[key] for key in frame["key"]]
    grid, cells = build_grid(spec, frame), []
    done = {(run.data, run.method, run.rate, run.unit) for run in grid.runs()}
    for place in product(spec.data, spec.rows, spec.rates, spec.units):
        config = {**blocks[place[0]].config, "method": rows[place[1]].config["method"]}
        given = overrides_of(config, unit)
        cells.append(CellStatus(*place, "done" if place in done else "missing", axis=unit, given=given))
    return grid, TableStatus(name, str(results), cells), cut


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
    given += [f"split_seed={config['split_seed']}"] if unit == "seed" and config["split_seed"] else []
    return (*given, *batch_norm_overrides(config))


def _changed_values(group: str, name: str, values: Mapping) -> list[str]:
    """Overrides for the values that are not those of the group's yaml, or that it computes."""
    usual = usual_values(group, name) | {"precision": "fp32"}
    changed = {one: value for one, value in values.items() if one not in NOT_GIVEN and usual.get(one) != value}
    texts = {one: "null" if value is None else str(value).replace(" ", "") for one, value in changed.items()}
    return [("" if one == "precision" else f"{group}.") + f"{one}={text}" for one, text in texts.items()]
