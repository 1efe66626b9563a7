"""The tables of ``conf/table``: the cells of each and the keys of their records."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from omegaconf import OmegaConf

from cotune_bench.config import groups
from cotune_bench.config.compose import compose_config
from cotune_bench.config.groups import check_choice
from cotune_bench.config.keys import run_key
from cotune_bench.config.overrides import axes, parse
from cotune_bench.config.validate import number
from cotune_bench.errors import UserError

#: Axes that repeat a table's cells; a table has one of them.
UNITS = ("replicate", "seed")
AXES = ("data", "method", "rate", *UNITS)


def load_table(name: str) -> dict:
    """The yaml of a table as plain data; ``baseline`` is always there, perhaps empty.

    Raises:
        UserError: there is no such table, it names an unknown method or data set, or not one of replicate and seed.
    """
    check_choice("table", name)
    table = OmegaConf.to_container(OmegaConf.load(groups.CONF / "table" / f"{name}.yaml"), resolve=True)
    assert isinstance(table, dict)  # noqa: S101
    table.setdefault("baseline", [])
    if sum(unit in table for unit in UNITS) != 1:
        raise UserError(f"table {name}: give either replicate: [...] or seed: [...]")
    for group, chosen in (("method", table["method"] + table["baseline"]), ("data", table["data"])):
        for choice in chosen:
            try:
                check_choice(group, choice)
            except UserError as error:
                raise UserError(f"table {name}: {error}") from error
    return table


def table_overrides(table: dict, overrides: Sequence[str]) -> list[str]:
    """A sweep over exactly the cells of a table; overrides on the command line replace a whole axis.

    ``replicate=`` replaces the axis of seeds, too, and the other way round.
    """
    parsed = parse(overrides)
    given = {override.key_or_group for override in parsed}
    for override in parsed:
        if override.is_sweep_override() and override.key_or_group not in AXES:
            raise UserError(f"{override.input_line}: a table has one value for each setting but {', '.join(AXES)}")
    swept = table_axes(table)
    if given >= set(UNITS):
        raise UserError("a table has replicates or seeds: give replicate= or seed=, not both")
    if given & set(UNITS):
        given |= set(UNITS)
    wanted = [axis for axis in swept if axis not in given]
    return [f"{axis}={','.join(map(str, swept[axis]))}" for axis in wanted] + list(overrides)


def table_axes(table: dict) -> dict[str, list]:
    """The axes of a table and their values, baselines among the methods."""
    swept = {**table, "method": table["method"] + table.get("baseline", [])}
    return {axis: swept[axis] for axis in AXES if axis in swept}


@dataclass(frozen=True)
class Cells:
    """A table's axes after overrides, the keys of its cells in order, and the folder of their records.

    ``method`` are the contenders, ``baseline`` the other rows; ``unit`` is an axis of UNITS, ``units`` its values.
    """

    data: tuple[str, ...]
    method: tuple[str, ...]
    baseline: tuple[str, ...]
    rate: tuple[float, ...]
    unit: str
    units: tuple[int, ...]
    keys: tuple[str, ...]
    results: str


def table_cells(table: dict, overrides: Sequence[str] = ()) -> Cells:
    """The cells of a table under these overrides.

    One configuration is composed for each data set and method, and resolved again for each rate and unit: composing
    takes 20 times as long. Methods that the command line names are baselines where the table says so, unless it
    names no other.
    """
    swept: dict[str, list[str]] = {}
    rest: list[str] = []
    texts = table_overrides(table, overrides)
    for values, override in zip(axes(texts), parse(texts), strict=True):
        if override.key_or_group in AXES:
            swept[override.key_or_group] = [value.partition("=")[2] for value in values]
        else:
            rest += values
    unit = next(unit for unit in UNITS if unit in swept)
    contenders = [method for method in swept["method"] if method not in table.get("baseline", [])]
    methods = contenders or swept["method"]
    baselines = [method for method in swept["method"] if method not in methods]
    rates = tuple(number("rate", text, float) for text in swept["rate"])
    units = tuple(number(unit, text, int) for text in swept[unit])
    keys, results = [], ""
    for data, method in product(swept["data"], [*methods, *baselines]):
        config = compose_config(
            [f"data={data}", f"method={method}", f"rate={rates[0]}", f"{unit}={units[0]}", *rest]
        ).copy()
        OmegaConf.set_readonly(config, False)
        results = config.results
        for config.rate, config[unit] in product(rates, units):
            keys.append(run_key(config))
    return Cells(tuple(swept["data"]), tuple(methods), tuple(baselines), rates, unit, units, tuple(keys), results)
