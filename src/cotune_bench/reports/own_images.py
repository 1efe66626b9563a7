"""Tables of people's own images, which no yaml names: made from whatever records there are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from omegaconf import OmegaConf

from cotune_bench.config import CONF
from cotune_bench.config.overrides import path_override
from cotune_bench.config.own_images import own_images
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.page.drill import leaves
from cotune_bench.reports.status import CellStatus, TableStatus
from cotune_bench.reports.tables import METHOD_NAMES
from cotune_bench.storage.files import digest
from cotune_bench.storage.records import Record, RecordStore

NOTE = "Trade-offs of the methods are not tuned on these images, unless a row names its own."
#: Settings that tell two groups of runs apart best; others follow by name.
FIRST = ("data.root", "backbone.name", "protocol.name", "protocol.updates")
#: Settings of a reader that the command line gives otherwise.
NOT_GIVEN = ("reader", "name", "root", "split_seed", "rate")


@dataclass(frozen=True)
class OwnCell(CellStatus):
    """A cell of own images, with the overrides that run it."""

    given: tuple[str, ...] = ()

    @property
    def overrides(self) -> list[str]:
        """The command-line overrides that choose this cell."""
        return [*self.given, f"rate={self.rate:g}", f"{self.axis}={self.unit}"]


def own_tables(results: Path) -> tuple[list[tuple[Grid, TableStatus]], list[str]]:
    """Tables for every own data set that has records, one of them all if there are several, and lines of warning.

    Runs of which seed and split differ together are replicates and have a table of their own, runs of several seeds
    on one split another. Runs share a block of rows if data set, backbone, protocol and, for seeds, split do, and a
    row if the method's values do.
    """
    records, damaged = RecordStore(results).read()
    if outdated := sum("_target_" in record.config.get("data", {}) for record in records):
        damaged.append(
            f"{outdated} records in {results} have keys of an earlier version, and no table finds them: "
            f"cotune-bench results rekey results={results} gives them today's"
        )
    mine = [record for record in records if own_images(record.config.get("data", {}))]
    tables = []
    for unit, ending, chosen in (("seed", "", _of_seeds(mine)), ("replicate", "-replicates", _replicates(mine))):
        blocks = _labels({record.key: (record.data, _setting(record, unit)) for record in chosen})
        rows = _labels({record.key: (record.method, record.config["method"]) for record in chosen})
        names = sorted({record.data for record in chosen})
        asked = [
            (f"own-{name}", f"Own images: {name}", [one for one in chosen if one.data == name]) for name in names
        ]
        if len(names) > 1:
            asked.append(("own_all", f"Own images: {', '.join(names)}", chosen))
        for name, title, members in asked:
            grid, cut = _grid(_spec(name + ending, title, members, unit, blocks, rows), members, blocks, rows)
            tables.append((grid, _status(grid, members, blocks, rows, results)))
            damaged += cut
    return tables, list(dict.fromkeys(damaged))


def _replicates(records: Sequence[Record]) -> list[Record]:
    """Those whose seeds are all the same number, where runs of one setting have several such numbers."""
    numbers: dict[str, set[int]] = {}
    alike = [record for record in records if _number(record) is not None]
    for record in alike:
        numbers.setdefault(digest(_setting(record, "replicate")), set()).add(record.seed)
    return [record for record in alike if len(numbers[digest(_setting(record, "replicate"))]) > 1]


def _of_seeds(records: Sequence[Record]) -> list[Record]:
    """Those that are no replicates, and replicates on whose split there are other seeds."""
    replicates = {record.key for record in _replicates(records)}
    rest = [record for record in records if record.key not in replicates]
    shared = {digest(_setting(record, "seed")) for record in rest}
    return [record for record in records if digest(_setting(record, "seed")) in shared]


def _number(record: Record) -> int | None:
    """The replicate that a run may be; None where its seeds differ."""
    seeds = {record.seed, record.config["split_seed"], record.config["backbone"].get("seed", record.seed)}
    return record.seed if len(seeds) == 1 else None


def _setting(record: Record, unit: str) -> dict:
    """What the runs of a block of rows share."""
    config = record.config
    if unit == "seed":
        return {name: config[name] for name in ("data", "backbone", "protocol", "split_seed")}
    backbone = {name: value for name, value in config["backbone"].items() if name != "seed"}
    return {"data": config["data"], "backbone": backbone, "protocol": config["protocol"]}


def _labels(configs: Mapping[str, tuple[str, Mapping]]) -> dict[str, str]:
    """For every key its name, with as few settings in brackets as tell apart the different ones of that name."""
    groups: dict[str, dict[str, Mapping]] = {}
    for name, config in configs.values():
        groups.setdefault(name, {})[digest(config)] = config
    labels = {(name, mark): text for name, kinds in groups.items() for mark, text in _told(name, kinds).items()}
    return {key: labels[name, digest(config)] for key, (name, config) in configs.items()}


def _told(name: str, kinds: Mapping[str, Mapping]) -> dict[str, str]:
    flat = {mark: dict(leaves(config)) for mark, config in kinds.items()}
    every = {setting for values in flat.values() for setting in values}
    ranked = sorted(every, key=lambda one: (FIRST.index(one) if one in FIRST else len(FIRST), one))
    chosen: list[str] = []

    def told(mark: str, settings: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{one.rpartition('.')[2]}={flat[mark].get(one)}" for one in settings)

    for setting in ranked:
        if len({told(mark, [*chosen, setting]) for mark in flat}) > len({told(mark, chosen) for mark in flat}):
            chosen.append(setting)
    return {mark: name + (f" ({', '.join(told(mark, chosen))})" if chosen else "") for mark in flat}


def _spec(
    name: str,
    title: str,
    members: Sequence[Record],
    unit: str,
    blocks: Mapping[str, str],
    rows: Mapping[str, str],
) -> TableSpec:
    known = list(METHOD_NAMES)
    methods = {rows[one.key]: known.index(one.method) if one.method in known else len(known) for one in members}
    return TableSpec(
        name=name,
        title=title,
        data=tuple(sorted({blocks[one.key] for one in members})),
        methods=tuple(sorted(methods, key=lambda row: (methods[row], row))),
        rates=tuple(sorted({one.rate for one in members})),
        units=tuple(sorted({one.seed for one in members})),
        unit=unit,
        note=NOTE,
    )


def _grid(
    spec: TableSpec, members: Sequence[Record], blocks: Mapping[str, str], rows: Mapping[str, str]
) -> tuple[Grid, list[str]]:
    frame, cut = run_frame(members)
    frame["data"] = [blocks[key] for key in frame["key"]]
    frame["method"] = [rows[key] for key in frame["key"]]
    return build_grid(spec, frame), cut


def _status(
    grid: Grid, members: Sequence[Record], blocks: Mapping[str, str], rows: Mapping[str, str], results: Path
) -> TableStatus:
    example = {(blocks[one.key], rows[one.key]): one for one in members}
    done = {(run.data, run.method, run.rate, run.unit) for run in grid.runs()}
    spec, cells = grid.spec, []
    for data, method, rate, unit in product(spec.data, spec.rows, spec.rates, spec.units):
        like = example.get((data, method)) or next(one for one in members if rows[one.key] == method)
        there = next(one for one in members if blocks[one.key] == data)
        given = overrides_of({**there.config, "method": like.config["method"]}, spec.unit)
        state = "done" if (data, method, rate, unit) in done else "missing"
        cells.append(OwnCell(data, method, rate, unit, state, axis=spec.unit, given=given))
    return TableStatus(spec.name, str(results), cells)


def overrides_of(config: Mapping, unit: str) -> tuple[str, ...]:
    """The overrides that give a run's configuration again; without rate and what the unit sets."""
    data = config["data"]
    choice = data["reader"]
    given = [f"data={choice}", path_override("data.root", data["root"]), f"data.name={data['name']}"]
    for group, name in (("data", choice), *((group, config[group]["name"]) for group in ("method", "backbone"))):
        changed = _changed_values(group, name, config[group])
        if group == "backbone" and unit == "replicate":
            changed = [text for text in changed if not text.startswith("backbone.seed=")]
        given += [f"{group}={name}"] * (group != "data") + changed
    protocol = config["protocol"]
    given += [f"protocol={protocol['name']}", *_changed_values("protocol", protocol["name"], protocol)]
    return (*given, *([f"split_seed={config['split_seed']}"] if unit == "seed" and config["split_seed"] else []))


def _changed_values(group: str, name: str, values: Mapping) -> list[str]:
    """The values that are not those of the group's yaml; those that it computes are given, too."""
    path = CONF / group / f"{name}.yaml"
    usual = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {}
    assert isinstance(usual, dict)  # noqa: S101
    changed = {one: value for one, value in values.items() if one not in NOT_GIVEN and usual.get(one) != value}
    if changed.get("precision") == "fp32":
        del changed["precision"]
    texts = {one: "null" if value is None else str(value).replace(" ", "") for one, value in changed.items()}
    return [("" if one == "precision" else f"{group}.") + f"{one}={text}" for one, text in texts.items()]
