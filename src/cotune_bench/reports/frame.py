"""Records as the rows that tables are made of."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cotune_bench.records import COLUMNS, Record
from cotune_bench.reports.captions import split_text

if TYPE_CHECKING:  # half a second that help need not wait for
    import pandas as pd


def to_frame(records: Iterable[Record]) -> "pd.DataFrame":
    """One row for each record: what results.csv holds and tables are made of."""
    import pandas as pd

    rows = [{**record.environment, **vars(record)} for record in records]
    return pd.DataFrame(rows, columns=COLUMNS)


def run_frame(records: Sequence[Record]) -> tuple["pd.DataFrame", list[str]]:
    """The rows of results.csv with the split and, where recorded, the precision of every run.

    Also gives a line for each record whose configuration was cut, which is left out.
    """
    whole, splits, damaged = [], [], []
    for record in records:
        try:
            splits.append(split_text(record.config))
            whole.append(record)
        except KeyError as error:
            damaged.append(f"{record.key} is left out: its config lacks {error}; move it away and run its cell again")
    precisions = [record.config["protocol"].get("precision", record.environment.get("precision")) for record in whole]
    return to_frame(whole).assign(split=splits, precision=precisions), damaged
