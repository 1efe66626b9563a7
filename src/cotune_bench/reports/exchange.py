"""Records shown, handed on as one table, and taken in from elsewhere."""

import dataclasses
import importlib.util
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import OmegaConf

from cotune_bench.config import key_of, upgraded, with_reader
from cotune_bench.errors import UserError, suggest
from cotune_bench.inference.kept_network import CARD
from cotune_bench.reports.frame import to_frame
from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.records import COLUMNS, Record, RecordStore, csv_text, row_of
from cotune_bench.storage.records import key_of as record_key

#: What a key does not tell of a run's inputs.
INPUTS = {"images": "data_sha256", "source weights": "weights_sha256"}


def select(records: Sequence[Record], filters: Sequence[str]) -> list[Record]:
    """Records that meet all filters, each ``column=value`` or ``column=value,value``; numbers compare as numbers."""
    wanted = {}
    for text in filters:
        name, equals, values = text.partition("=")
        if not equals:
            raise UserError(f"{text} cannot be read: filters are given as column=value")
        if name not in COLUMNS:
            raise UserError(f"{name} is not a column: {suggest(name, COLUMNS)}")
        wanted[name] = values.split(",")
    return [
        record
        for record in records
        if all(any(_equal(row_of(record)[name], text) for text in texts) for name, texts in wanted.items())
    ]


def _equal(value: object, text: str) -> bool:
    if isinstance(value, int | float):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text == ("" if value is None else str(value))


def export(records: Sequence[Record], path: Path) -> None:
    """Write records to a .csv or .parquet file, columns as in results.csv."""
    if path.suffix == ".csv":
        content = csv_text(records).encode()
    elif path.suffix == ".parquet":
        if importlib.util.find_spec("pyarrow") is None:
            raise UserError(f"{path} needs pyarrow: pip install pyarrow, or export to a .csv file")
        buffer = io.BytesIO()
        to_frame(records).to_parquet(buffer, index=False)
        content = buffer.getvalue()
    else:
        raise UserError(f"{path} cannot be written: its name must end in .csv or .parquet")
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}): choose another place") from error


def merge(ours: RecordStore, theirs: RecordStore) -> tuple[int, int, list[str]]:
    """Take in the records of another results folder; no file of ours is ever changed.

    Of a key that both hold, ours stays.

    Returns:
        numbers of records taken in and of records whose key was here, and a line for each of these that differs in
        accuracy or nll and for each damaged file.
    """
    if not theirs.folder.is_dir():
        raise UserError(f"{theirs.results} holds no records: name a results folder")
    if theirs.folder.resolve() == ours.folder.resolve():
        raise UserError(f"{theirs.results} is the results folder itself: name another one")
    found, told = theirs.read()
    here: dict[str, list[Record]] = {}
    for record in ours.read()[0]:
        here.setdefault(record.key, []).append(record)
    new = {record.key for record in found if not ours.path(record.key).exists()}
    for record in found:
        if record.key in new:
            ours.add(record, again=True)  # reruns of one cell stay side by side
        elif record.key not in here:
            told.append(f"{record.key}: ours cannot be read and stays; move it away to take theirs in")
        elif not any((mine.accuracy, mine.nll) == (record.accuracy, record.nll) for mine in here[record.key]):
            mine = here[record.key][-1]
            other = [what for what, name in INPUTS.items() if getattr(mine, name) != getattr(record, name)]
            why = f", from other {' and '.join(other)}" if other else ""
            told.append(f"{record.key}: ours has {_scores(mine)}, theirs {_scores(record)}{why}; ours stays")
    taken = sum(record.key in new for record in found)
    return taken, len(found) - taken, told


def rekey(store: RecordStore) -> dict[str, str]:
    """Give records and run folders of an earlier version today's keys; returns the new keys of records by their old.

    The new record is written before the old file goes, so that a kill leaves both and a second call ends the work.

    Raises:
        UserError: a run folder of the new key is there already.
    """
    records, pairs = store.read()[0], {}
    here = {(record.key, record.finished) for record in records}
    for record in records:
        config = upgraded(record.config)
        key = key_of(config)
        if key != record.key:
            pairs[record.key] = key
            if (key, record.finished) not in here:
                store.add(dataclasses.replace(record, key=key, config=config), again=True)
    for path in store.folder.glob("*.json"):
        if record_key(path) in pairs:
            path.unlink()
    for path in (store.results / "runs").glob("*/config.yaml"):
        config = upgraded(OmegaConf.to_container(OmegaConf.load(path), resolve=True))  # pyright: ignore
        folder = path.parent.with_name(key_of(config))
        if folder != path.parent:
            if folder.exists():
                raise UserError(f"{folder} is there already: move it or {path.parent} away")
            OmegaConf.save(OmegaConf.create(config), path)
            with suppress(FileNotFoundError):  # of a kept network
                card = json.loads((path.parent / CARD).read_text(encoding="utf-8"))
                card |= {"key": folder.name, "data": with_reader(card["data"])}
                write_atomically(
                    path.with_name(CARD), (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode()
                )
            path.parent.rename(folder)
    return pairs


def _scores(record: Record) -> str:
    return f"{record.accuracy:.2f} % and nll {record.nll:.4g}"
