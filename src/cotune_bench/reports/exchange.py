"""Records filtered, and handed on as one table."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cotune_bench.errors import UserError, suggest
from cotune_bench.reports.frame import to_frame
from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.records import COLUMNS, Record, csv_text


def select(records: Sequence[Record], filters: Sequence[str]) -> list[Record]:
    """Records that meet all filters, each ``column=value`` or ``column=value,value``; numbers compare as numbers."""
    frame = to_frame(records).astype(object)
    found = pd.Series(True, index=frame.index)
    for text in filters:
        name, equals, given = text.partition("=")
        if not equals:
            raise UserError(f"{text} cannot be read: filters are given as column=value")
        if name not in COLUMNS:
            raise UserError(f"{name} is not a column: {suggest(name, COLUMNS)}")
        column, values = pd.Series(frame[name]), pd.Series(given.split(","))
        numbers = pd.Series(pd.to_numeric(values, errors="coerce")).dropna()
        found &= column.isin(numbers) | column.where(column.notna(), "").astype(str).isin(values)
    return [record for record, chosen in zip(records, found, strict=True) if chosen]


def export(records: Sequence[Record], path: Path) -> None:
    """Write records to a .csv or .parquet file, columns as in results.csv."""
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path} cannot be written: its name must end in .csv or .parquet")
    try:
        content = csv_text(records).encode() if path.suffix == ".csv" else to_frame(records).to_parquet(index=False)
        write_atomically(path, content)
    except ImportError as error:
        raise UserError(f"{path} needs pyarrow: pip install pyarrow, or export to a .csv file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}): choose another place") from error
