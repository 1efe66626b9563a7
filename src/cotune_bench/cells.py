"""The tables of ``conf/table``: which cells each has, and under which keys their records lie; no torch in sight."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product

from omegaconf import OmegaConf

from cotune_bench.checks import number
from cotune_bench.config import CONF, PACKAGE, axes, check_choice, compose_config, key_of, parse, run_config
from cotune_bench.errors import UserError
from cotune_bench.own import OWN_IMAGES
from cotune_bench.remember import remembered

AXES = ("data", "method", "rate", "seed")


def load_table(name: str) -> dict:
    """The yaml of a table as plain data; UserError if there is none or it names an unknown method or data set."""
    check_choice("table", name)
    table = OmegaConf.to_container(OmegaConf.load(CONF / "table" / f"{name}.yaml"), resolve=True)
    assert isinstance(table, dict)  # noqa: S101
    for group in ("method", "data"):
        for choice in table[group]:
            try:
                check_choice(group, choice)
            except UserError as error:
                raise UserError(f"table {name}: {error}") from error
    return table


def table_overrides(table: dict, overrides: Sequence[str]) -> list[str]:
    """A sweep over exactly the cells of a table; overrides on the command line replace a whole axis."""
    given = {override.key_or_group for override in parse(overrides)}
    for override in parse(overrides):
        if override.is_sweep_override() and override.key_or_group not in AXES:
            raise UserError(f"{override.input_line}: a table has one value for each setting but {', '.join(AXES)}")
    return [f"{axis}={','.join(map(str, table[axis]))}" for axis in AXES if axis not in given] + list(overrides)


@dataclass(frozen=True)
class Cells:
    """A table's axes after overrides, the keys of its cells in order, and where their records lie."""

    data: tuple[str, ...]
    method: tuple[str, ...]
    rate: tuple[float, ...]
    seed: tuple[int, ...]
    keys: tuple[str, ...]
    results: str


def table_cells(table: dict, overrides: Sequence[str] = ()) -> Cells:
    """The cells of a table under these overrides.

    One configuration is composed for each data set and method; rates and seeds are put in by hand, because
    composing hundreds would take many seconds. Remembered, but for own images, which are told by their folder.
    """
    texts = table_overrides(table, overrides)
    if any(name in text for name in (*OWN_IMAGES, "auto") for text in texts):
        return _table_cells(texts)
    folders = [str(one.value()) for one in parse(texts) if one.key_or_group == "results"]  # no key hangs on it
    texts = [text for text in texts if not text.startswith("results=")]
    files = [*sorted(CONF.rglob("*.yaml")), *sorted(PACKAGE.glob("*.py"))]
    values = remembered("cells", texts, files, lambda: asdict(_table_cells(texts)))
    lists = {name: tuple(value) for name, value in values.items() if not isinstance(value, str)}
    return Cells(**lists, results=folders[-1] if folders else values["results"])


def _table_cells(texts: Sequence[str]) -> Cells:
    swept: dict[str, list[str]] = {}
    rest: list[str] = []
    for values, override in zip(axes(texts), parse(texts), strict=True):
        if override.key_or_group in AXES:
            swept[override.key_or_group] = [value.partition("=")[2] for value in values]
        else:
            rest += values
    rates = tuple(number("rate", text, float) for text in swept["rate"])
    seeds = tuple(number("seed", text, int) for text in swept["seed"])
    keys, results = [], ""
    for data, method in product(swept["data"], swept["method"]):
        config = compose_config([f"data={data}", f"method={method}", *rest])
        defining, results = run_config(config), config.results
        keys += [key_of({**defining, "rate": rate, "seed": seed}) for rate, seed in product(rates, seeds)]
    return Cells(tuple(swept["data"]), tuple(swept["method"]), rates, seeds, tuple(keys), results)
