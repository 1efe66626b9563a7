"""Records as the rows that tables are made of."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from cotune_bench.config import CONF
from cotune_bench.reports.captions import split_rule
from cotune_bench.storage.records import COLUMNS, Record, row_of

if TYPE_CHECKING:  # half a second that help need not wait for
    import pandas as pd


def to_frame(records: Iterable[Record]) -> "pd.DataFrame":
    """One row for each record: what results.csv holds and tables are made of."""
    import pandas as pd

    return pd.DataFrame([row_of(record) for record in records], columns=COLUMNS)


def run_frame(records: Sequence[Record]) -> tuple["pd.DataFrame", list[str]]:
    """The rows of results.csv, and of every run its protocol and the rule of its split in words, precision, images.

    Also gives a line for each record whose configuration was cut, which is left out.
    """
    whole, told, damaged = [], [], []
    for record in records:
        try:
            told.append((protocol_text(record.protocol, record.config["protocol"]), split_rule(record.config)))
            int(record.config["split_seed"])  # a column of its own
            whole.append(record)
        except KeyError as error:
            damaged.append(f"{record.key} is left out: its config lacks {error}; move it away and run its cell again")
    precisions = [record.config["protocol"].get("precision", record.environment.get("precision")) for record in whole]
    protocols, splits = [protocol for protocol, _ in told], [split for _, split in told]
    more = {"images": [record.data_sha256 for record in whole], "correct": [record.correct for record in whole]}
    return to_frame(whole).assign(protocol=protocols, split=splits, precision=precisions, **more), damaged


def protocol_text(name: str, values: Mapping[str, Any]) -> str:
    """A protocol's name, and those of a run's values that are not its yaml's; split and precision are told apart."""
    usual = _usual(name)
    changed = [
        f"{one}={value}".replace(" ", "")
        for one, value in values.items()
        if one not in ("val", "split_order", "precision")
        and not str(usual.get(one, value)).startswith("${")  # computed from the images
        and usual.get(one, value) != value
    ]
    return f"{name} ({', '.join(changed)})" if changed else name


@cache
def _usual(name: str) -> dict:
    path = CONF / "protocol" / f"{name}.yaml"
    values = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    assert isinstance(values, dict)  # noqa: S101
    return values
