"""Records: one immutable JSON file for each finished run. They are the truth; results.csv is made from them."""

import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

from cotune_bench.errors import UserError
from cotune_bench.files import write_atomically

if TYPE_CHECKING:  # half a second that help need not wait for
    import pandas as pd

SCHEMA = 1
TEXTS = ("key", "method", "data", "backbone", "protocol", "weights", "weights_sha256", "data_sha256", "finished")
KINDS = {
    **dict.fromkeys(TEXTS, str),
    **dict.fromkeys(("rate", "accuracy", "nll", "seconds"), (int, float)),
    **dict.fromkeys(("seed", "train_images", "test_images"), int),
    **dict.fromkeys(("config", "environment"), dict),
    "val_accuracy": (int, float, NoneType),
}


@dataclass(frozen=True)
class Record:
    """One finished run.

    Attributes:
        key: readable cell and a hash of all that defines the result; also the file's name.
        accuracy, nll: top-1 in percent and mean negative log-likelihood on the test set, read once at the end.
        val_accuracy: top-1 in percent on the validation set, None without one.
        weights, weights_sha256: which pre-trained weights; ``random`` marks a run without.
        data_sha256: fingerprint of the images and labels that trained, validated and tested.
        config: every value that defines the result.
        environment: versions, device, threads, host: what does not define the result but may explain it.
        seconds: wall time of training and evaluation; ``finished``: ISO 8601, UTC.
    """

    key: str
    method: str
    data: str
    backbone: str
    protocol: str
    rate: float
    seed: int
    accuracy: float
    nll: float
    val_accuracy: float | None
    train_images: int
    test_images: int
    weights: str
    weights_sha256: str
    data_sha256: str
    seconds: float
    finished: str
    config: dict
    environment: dict
    schema: int = SCHEMA

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """The record in a file's text; ValueError says what is wrong with it."""
        values = json.loads(text, parse_constant=_no_number)
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        if values.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {values.get('schema')!r}, this version reads {SCHEMA}")
        names = {field.name for field in dataclasses.fields(cls)}
        if missing := sorted(names - values.keys()):
            raise ValueError(f"it lacks {', '.join(missing)}")
        if unknown := sorted(values.keys() - names):
            raise ValueError(f"it holds the unknown {', '.join(unknown)}")
        for name, kind in KINDS.items():
            if not isinstance(values[name], kind) or isinstance(values[name], bool):
                raise ValueError(f"its {name} is {values[name]!r}")
        return cls(**values)


def _no_number(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is no number")


class RecordStore:
    """The folder ``records`` under a results folder. Several processes may write to it without a lock."""

    def __init__(self, results: Path) -> None:
        self.results = Path(results)
        self.folder = self.results / "records"

    def finished(self, key: str) -> bool:
        """Whether this key has a record; UserError if there is one that cannot be read."""
        path = self.path(key)
        if not path.exists():
            return False
        try:
            Record.from_json(path.read_text(encoding="utf-8"))
        except (ValueError, TypeError, OSError) as error:
            raise UserError(f"{path} cannot be read: {error}; move it away to run its cell again") from error
        return True

    def path(self, key: str) -> Path:
        """Where the first record of this key is or will be."""
        return self.folder / f"{key}.json"

    def add(self, record: Record, *, again: bool = False) -> Path:
        """Write a record; the file appears whole or not at all, and no file is ever changed.

        If the key has one already, that stays the only one, unless ``again`` adds a numbered file beside it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(record.to_json())
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            path, number = self.path(record.key), 1
            while not _appeared(temporary, path):
                if not again:
                    return path
                number += 1
                path = self.folder / f"{record.key}~{number}.json"
            return path
        finally:
            Path(temporary).unlink(missing_ok=True)

    def read(self, keys: Iterable[str] | None = None) -> tuple[list[Record], list[str]]:
        """Records of these keys (of all by default), sorted by key and time, and a line for each unreadable file.

        Files of which nothing can be read are named, left alone and passed over.
        """
        wanted = None if keys is None else set(keys)
        records, damaged = [], []
        for path in sorted(self.folder.glob("[!.]*.json")):
            if wanted is not None and key_of(path) not in wanted:
                continue
            try:
                record = Record.from_json(path.read_text(encoding="utf-8"))
                if record.key != key_of(path):
                    raise ValueError(f"it belongs to {record.key}")
                records.append(record)
            except (ValueError, TypeError, OSError) as error:
                damaged.append(f"{path} cannot be read and is left out: {error}; move it away and run its cell again")
        return sorted(records, key=lambda record: (record.key, record.finished)), damaged

    def refresh(self) -> tuple[Path, list[str]]:
        """Rewrite results.csv from the records; also gives a line for each unreadable file."""
        records, damaged = self.read()
        path = self.results / "results.csv"
        write_atomically(path, to_frame(records).to_csv(index=False, lineterminator="\n").encode())
        return path, damaged


def _appeared(temporary: str, path: Path) -> bool:
    """Give the finished temporary file its name; False if the name is taken."""
    try:
        os.link(temporary, path)  # unlike a rename, never replaces
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        os.replace(temporary, path)
    return True


def key_of(path: Path) -> str:
    """The key of a record file; several records of one key are numbered."""
    return re.sub(r"~\d+$", "", path.stem)


COLUMNS = [
    "key",
    "method",
    "data",
    "backbone",
    "protocol",
    "rate",
    "seed",
    "accuracy",
    "nll",
    "val_accuracy",
    "train_images",
    "test_images",
    "weights",
    "seconds",
    "finished",
    "version",
    "torch",
    "device",
]


def to_frame(records: Iterable[Record]) -> "pd.DataFrame":
    """One row for each record: what results.csv holds and tables are made of."""
    import pandas as pd

    rows = [{**record.environment, **vars(record)} for record in records]
    return pd.DataFrame(rows, columns=COLUMNS)


def check_writable(folder: Path) -> None:
    """Raise UserError if results could not be written to this folder; leaves nothing behind."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is not a folder")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"results={folder} cannot be written ({error}): choose another folder") from error
