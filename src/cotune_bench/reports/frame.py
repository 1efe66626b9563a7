"""Records as rows: filtered, exported, and as tables are made of them."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from cotune_bench.config import CONF
from cotune_bench.config.changed import described_row
from cotune_bench.errors import UserError, suggest
from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.records import COLUMNS, Record, csv_text


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each record: what results.csv holds and tables are made of."""
    return pd.DataFrame([described_row(record) for record in records], columns=COLUMNS)


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
        content = (
            csv_text(map(described_row, records)).encode()
            if path.suffix == ".csv"
            else to_frame(records).to_parquet(index=False)
        )
        write_atomically(path, content)
    except ImportError as error:
        raise UserError(f"{path} needs pyarrow: pip install pyarrow, or export to a .csv file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}): choose another place") from error


def run_frame(records: Sequence[Record]) -> tuple[pd.DataFrame, list[str]]:
    """The rows of results.csv, and of every run its timm model, protocol and split in words, precision, images.

    Also gives a line for each record whose configuration was cut, which is left out.
    """
    rows, damaged = [], []
    for record in records:
        config = record.config
        try:
            more = {
                "split_seed": int(config["split_seed"]),
                "backbone": f"timm {config['backbone']['model']}" if record.backbone == "timm" else record.backbone,
                "protocol": protocol_text(record.protocol, config["protocol"]),
                "split": split_rule(config),
                "precision": record.environment.get("precision", config["protocol"].get("precision")),
                "images": record.data_sha256,
                "correct": record.correct,
                "costs": record.costs,
            }
        except KeyError as error:
            damaged.append(f"{record.key} is left out: its config lacks {error}; move it away and run its cell again")
        else:
            rows.append(described_row(record) | more)
    return pd.DataFrame(rows, columns=[*COLUMNS, "split", "precision", "images", "correct", "costs"]), damaged


def split_rule(config: Mapping[str, Any]) -> str:
    """How a run's configuration holds out validation images; COCO-70 and folders may bring their own."""
    protocol, data = config["protocol"], config.get("data", {})
    order = "before" if protocol["split_order"] == "split_then_sample" else "after"
    held = f"{100 * protocol['val']:g} % of the training images held out {order} sampling"
    held = held if protocol["val"] else "nothing held out"
    reader = data.get("reader")
    brings = reader in ("coco70", "folder") or (reader == "imagelist" and data.get("val") is not None)
    return f"validation images of its own, else {held}" if brings else held


def protocol_text(name: str, values: Mapping[str, Any]) -> str:
    """A protocol's name, and those of a run's values that are not its yaml's; split and precision are kept apart."""
    usual = usual_values("protocol", name)
    changed = [
        f"{one}={value}".replace(" ", "")
        for one, value in values.items()
        if one not in ("val", "split_order", "precision")
        and not str(usual.get(one, value)).startswith("${")  # computed from the images
        and usual.get(one, value) != value
    ]
    return f"{name} ({', '.join(changed)})" if changed else name


@cache
def usual_values(group: str, name: str) -> dict[str, Any]:
    """The yaml of a group's choice, as it is; empty without one."""
    path = CONF / group / f"{name}.yaml"
    return OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}  # pyright: ignore
