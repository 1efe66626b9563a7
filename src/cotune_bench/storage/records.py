"""Records: one immutable JSON file for each finished run. They are the truth; results.csv is made from them."""

import base64
import csv
import dataclasses
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType

import numpy as np

from cotune_bench.errors import UserError
from cotune_bench.storage.files import write_atomically

SCHEMA = 2
#: What records of schema 1 lack, and what they are read as.
SINCE_2 = {"correct": "", "test_sha256": ""}
TEXTS = ("key", "method", "data", "backbone", "protocol", "weights", "weights_sha256", "data_sha256", "finished")
KINDS = {
    **dict.fromkeys((*TEXTS, *SINCE_2), str),
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
        correct: which test images are classified correctly, see :func:`packed`; empty in records of schema 1.
        test_sha256: fingerprint of the test images and their labels alone; empty in records of schema 1.
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
    correct: str = ""
    test_sha256: str = ""
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
        if values.get("schema") == 1:
            values = {**SINCE_2, **values, "schema": SCHEMA}
        if values.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {values.get('schema')!r}, this version reads 1 to {SCHEMA}")
        names = {field.name for field in dataclasses.fields(cls)}
        if missing := sorted(names - values.keys()):
            raise ValueError(f"it lacks {', '.join(missing)}")
        if unknown := sorted(values.keys() - names):
            raise ValueError(f"it holds the unknown {', '.join(unknown)}")
        for name, kind in KINDS.items():
            if not isinstance(values[name], kind) or isinstance(values[name], bool):
                raise ValueError(f"its {name} is {values[name]!r}")
        if values["correct"]:
            unpacked(values["correct"], values["test_images"])
        return cls(**values)


def packed(correct: np.ndarray) -> str:
    """Which of the N test images are classified correctly, (N,) bool, as text: base64 of ``np.packbits``."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpacked(text: str, images: int) -> np.ndarray:
    """(images,) bool from the text that :func:`packed` gave; ValueError for that of another number of images."""
    content = base64.b64decode(text, validate=True)
    if len(content) != -(-images // 8):
        raise ValueError(f"its correct holds {len(content)} bytes, which are not those of {images} images")
    return np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=images).astype(bool)


def _no_number(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is no number")


class RecordStore:
    """The folder ``records`` under a results folder. Several processes may write to it without a lock."""

    def __init__(self, results: Path) -> None:
        self.results = Path(results)
        self.folder = self.results / "records"
        self.table = self.results / "results.csv"

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
        """Write a record, then its row of results.csv; the file appears whole or not at all, no record ever changes.

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
            with suppress(OSError):  # the record is safe, and whatever befalls its row, a refresh sets it right
                self._append(record)
            return path
        finally:
            Path(temporary).unlink(missing_ok=True)

    def read(self, keys: Iterable[str] | None = None) -> tuple[list[Record], list[str]]:
        """Records of these keys (of all by default), sorted by key and time, and a line for each unreadable file.

        Files of which nothing can be read are named, left alone and passed over.
        """
        paths = self._paths()
        if keys is not None:
            wanted = set(keys)
            paths = [path for path in paths if key_of(path) in wanted]
        return _sorted(map(_load, paths))

    def refresh(self) -> tuple[Path, list[str]]:
        """Make results.csv from the records; also gives a line for each unreadable file.

        Other processes may add records meanwhile. A row appended to the file that is being replaced is not lost:
        its record came before it, so the folder is found changed and the file is made once more.
        """
        read: dict[str, Record | str] = {}
        paths = self._paths()
        while True:
            read = {path: read.get(path) or _load(path) for path in paths}
            records, damaged = _sorted(read.values())
            write_atomically(self.table, csv_text(records).encode())
            paths = self._paths()
            if paths == list(read):
                return self.table, damaged

    def listed(self, key: str) -> bool:
        """Whether results.csv has a row of this key."""
        return self.table.exists() and f"\n{key},".encode() in self.table.read_bytes()

    def _append(self, record: Record) -> None:
        """Add a row to results.csv, at the same cost with any number of records; made anew if it is not whole."""
        header = csv_text([]).encode()
        with suppress(FileNotFoundError), open(self.table, "r+b", buffering=0, opener=_appending) as file:
            if file.read(len(header)) == header and file.seek(-1, os.SEEK_END) and file.read(1) == b"\n":
                file.write(csv_text([record]).encode().removeprefix(header))  # in one call, so that rows do not mix
                return
        self.refresh()

    def _paths(self) -> list[str]:
        """The record files in order of their names; as text, because making thousands of paths takes longer."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        chosen = sorted(name for name in names if name.endswith(".json") and not name.startswith("."))
        return [os.path.join(self.folder, name) for name in chosen]


def _appending(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_APPEND)


def _load(path: str) -> Record | str:
    """The record of a file, or a line that tells why there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            record = Record.from_json(file.read())
        if record.key != key_of(path):
            raise ValueError(f"it belongs to {record.key}")
    except (ValueError, TypeError, OSError) as error:
        return f"{path} cannot be read and is left out: {error}; move it away and run its cell again"
    return record


def _sorted(found: Iterable[Record | str]) -> tuple[list[Record], list[str]]:
    """Records by key and time, and the lines about damaged files."""
    records, damaged = [], []
    for item in found:
        (damaged if isinstance(item, str) else records).append(item)
    return sorted(records, key=lambda record: (record.key, record.finished)), damaged


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


def key_of(path: Path | str) -> str:
    """The key of a record file; several records of one key are numbered."""
    return re.sub(r"(~\d+)?\.json$", "", os.path.basename(path))


COLUMNS = [
    "key",
    "method",
    "data",
    "backbone",
    "protocol",
    "rate",
    "seed",
    "split_seed",
    "accuracy",
    "nll",
    "val_accuracy",
    "train_images",
    "test_images",
    "weights",
    "weights_sha256",
    "test_sha256",
    "seconds",
    "finished",
    "version",
    "torch",
    "device",
    "instructions",
]


def row_of(record: Record) -> dict[str, object]:
    """A record's values in the columns of results.csv."""
    values = {"split_seed": record.config.get("split_seed"), **record.environment, **vars(record)}
    return {name: values.get(name) for name in COLUMNS}


def csv_text(records: Iterable[Record]) -> str:
    """The text of results.csv; numbers keep all their digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(row_of, records))
    return text.getvalue()
