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
    """The yaml of a table as plain data; ``baseline``, ``rows``, ``settings`` and ``parts`` are always there.

    Raises:
        UserError: there is no such table, it names an unknown method or data set, or not one of replicate and seed,
            or a row has the name of a method or has none, or a part is no row.
    """
    check_choice("table", name)
    table = {"baseline": [], "rows": {}, "settings": [], "parts": [], **groups.load("table", name)}
    if lacking := [axis for axis in ("method", "data") if axis not in table]:
        raise UserError(f"conf/table/{name}.yaml lacks {' and '.join(lacking)}: correct it")
    if sum(unit in table for unit in UNITS) != 1:
        raise UserError(f"table {name}: give either replicate: [...] or seed: [...]")
    for row in table["rows"]:
        if row in groups.choices("method"):
            raise UserError(f"table {name}: the row {row} has the name of a method: give it another")
    rows = table_axes(table)["method"]
    if unknown := [part for part in table["parts"] if part not in rows]:
        raise UserError(f"table {name}: the part {unknown[0]} is no row: choose {', '.join(rows)}")
    methods = [row_method(table, row) for row in rows]
    for group, chosen in (("method", methods), ("data", table["data"])):
        for choice in chosen:
            try:
                check_choice(group, choice)
            except UserError as error:
                raise UserError(f"table {name}: {error}") from error
    return table


def row_overrides(table: dict, row: str) -> list[str]:
    """The settings of a table's row: those under its name in ``rows``, else its name is a method.

    Before them are the table's own ``settings``, unless the row has others; the networks of ``parts`` are kept.
    """
    own = table.get("rows", {}).get(row, [f"method={row}"])
    given = {text.partition("=")[0] for text in own}
    common = [text for text in table.get("settings", []) if text.partition("=")[0] not in given]
    return [*own, *common, *["keep_checkpoint=true"] * (row in table.get("parts", []))]


def row_method(table: dict, row: str) -> str:
    """The method of a table's row; UserError if its settings name none."""
    found = [text.removeprefix("method=") for text in row_overrides(table, row) if text.startswith("method=")]
    if len(found) != 1:
        raise UserError(f"the row {row} of a table needs one method=NAME among its settings")
    return found[0]


def table_sweeps(table: dict, overrides: Sequence[str]) -> list[list[list[str]]]:
    """Sweeps over exactly the cells of a table: one of its methods, and one for each row with settings of its own.

    There are two stages where the table has ``parts``: sweeps over these come first, and the others read their
    networks.
    """
    texts = table_overrides(table, overrides)
    (rows,) = [values for values in axes(texts) if values[0].startswith("method=")]
    names = [row.removeprefix("method=") for row in rows]
    parts = [row for row in names if row in table.get("parts", [])]
    own = [row for row in names if row in table.get("rows", {}) and row not in parts]
    methods = [row for row in names if row not in parts + own]
    if methods == names:
        return [[[*table.get("settings", []), *texts]]]
    others = [text for text in texts if not text.startswith("method=")]
    plain = [[f"method={','.join(methods)}", *table.get("settings", []), *others]] * bool(methods)
    first, rest = ([[*row_overrides(table, row), *others] for row in some] for some in (parts, own))
    return [stage for stage in (first, plain + rest) if stage]


def table_overrides(table: dict, overrides: Sequence[str]) -> list[str]:
    """The axes of a table, ``method`` that of its rows; overrides on the command line replace a whole axis.

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

    ``method`` are the contenders, ``baseline`` the other rows; ``unit`` is an axis of UNITS, ``units`` its values;
    ``given`` are the settings of every row.
    """

    data: tuple[str, ...]
    method: tuple[str, ...]
    baseline: tuple[str, ...]
    rate: tuple[float, ...]
    unit: str
    units: tuple[int, ...]
    keys: tuple[str, ...]
    results: str
    given: dict[str, list[str]]

    @property
    def places(self) -> list[tuple[str, str, float, int]]:
        """Data set, row, rate and unit of every key."""
        return list(product(self.data, self.method + self.baseline, self.rate, self.units))


def table_cells(table: dict, overrides: Sequence[str] = ()) -> Cells:
    """The cells of a table under these overrides.

    One configuration is composed for each data set and method, and resolved again for each rate and unit: composing
    takes 20 times as long. Methods that the command line names are baselines where the table says so, unless it
    names no other.

    Raises:
        UserError: settings cannot be used, or two rows are the same runs.
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
    given = {row: row_overrides(table, row) for row in [*methods, *baselines]}
    for data, row in product(swept["data"], given):
        config = compose_config([f"data={data}", *given[row], f"rate={rates[0]}", f"{unit}={units[0]}", *rest]).copy()
        OmegaConf.set_readonly(config, False)
        results = config.results
        for config.rate, config[unit] in product(rates, units):
            keys.append(run_key(config))
    cells = Cells(
        tuple(swept["data"]), tuple(methods), tuple(baselines), rates, unit, units, tuple(keys), results, given
    )
    rows: dict[str, str] = {}
    for (_, row, _, _), key in zip(cells.places, keys, strict=True):
        if rows.setdefault(key, row) != row:
            raise UserError(f"the rows {rows[key]} and {row} are the same runs, {key}: leave one of them out")
    return cells
