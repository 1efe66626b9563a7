"""Records: one immutable JSON file for each finished run, from which results.csv and all tables are made."""

import base64
import dataclasses
import json
import re
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_origin, get_type_hints

import numpy as np

from cotune_bench.errors import UserError
from cotune_bench.storage.earlier_records import upgraded_values
from cotune_bench.storage.escape import csv_lines, strange_text
from cotune_bench.storage.files import create_atomically, digest, write_atomically
from cotune_bench.storage.summary import Summary

SCHEMA = 5


@dataclass(frozen=True, repr=False)
class Record(Summary):
    """One finished run.

    Attributes:
        key: readable cell and a hash of all that defines the result; also the file's name.
        metrics: of the task on the test set, read once at the end: ``accuracy`` is top-1 in percent, ``nll`` the mean
            negative log-likelihood.
        validation: the same on the validation set; empty without one.
        primary: the metric that tables show.
        costs: sizes and multiply-adds, as ``inference/costs.py`` has them; empty in records before schema 5.
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
    metrics: dict[str, float]
    validation: dict[str, float]
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
    primary: str = "accuracy"
    costs: dict[str, float] = dataclasses.field(default_factory=dict)
    schema: int = SCHEMA

    def summary(self) -> dict[str, object]:
        """What ``repr`` shows."""
        return {
            "record": self.key,
            "weights": f"{self.backbone} {self.weights}",
            "images": f"{self.train_images} training, {self.test_images} test",
            "test": ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items()),
            "validation": ", ".join(f"{name} {value:.4g}" for name, value in self.validation.items()) or "none",
            "finished": f"{self.finished}, after {self.seconds:.0f} s",
        }

    @property
    def accuracy(self) -> float:
        """Top-1 in percent on the test set."""
        return self.metrics["accuracy"]

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood on the test set."""
        return self.metrics["nll"]

    @property
    def val_accuracy(self) -> float | None:
        """Top-1 in percent on the validation set, None without one."""
        return self.validation.get("accuracy")

    def to_json(self) -> str:
        """The file's text, with a SHA-256 of all else in it."""
        values = dataclasses.asdict(self)
        return json.dumps({**values, "sha256": digest(values)}, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """The record in a file's text; ValueError says what is wrong with it."""
        try:
            values = json.loads(text, parse_constant=_no_number)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        if values.get("schema") in (4, SCHEMA) and values.pop("sha256", None) != digest(values):
            raise ValueError("its content has changed since it was written")
        values = upgraded_values(values, SCHEMA)
        if values.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {values.get('schema')!r}, this version reads 1 to {SCHEMA}")
        values.setdefault("costs", {})
        names = {field.name for field in dataclasses.fields(cls)}
        if missing := sorted(names - values.keys()):
            raise ValueError(f"it lacks {', '.join(missing)}")
        if unknown := sorted(values.keys() - names):
            raise ValueError(f"it contains the unknown {', '.join(unknown)}")
        for name, kind in KINDS.items():
            if not isinstance(values[name], kind) or isinstance(values[name], bool):
                raise ValueError(f"its {name} is {values[name]!r}")
        for name, value in {**values["metrics"], **values["validation"], **values["costs"]}.items():
            most = 100 if name == "accuracy" else sys.float_info.max
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
                raise ValueError(f"its {name} is {value!r}")
        if values["primary"] not in values["metrics"]:
            raise ValueError(f"its metrics lack {values['primary']}")
        if not 0 < values["rate"] <= 1 or min(values[name] for name in COUNTS) < 0:
            raise ValueError(f"its rate is {values['rate']!r}, and {', '.join(COUNTS)} are not all 0 or more")
        if (strange := strange_text({**values, "correct": ""})) is not None:
            raise ValueError(f"it contains the text {strange[:40]!a}")
        if values["correct"]:
            unpacked(values["correct"], values["test_images"])
        return cls(**values)


#: Types that a file's fields may have.
KINDS = {
    name: (int, float) if kind is float else get_origin(kind) or kind
    for name, kind in get_type_hints(Record).items()
    if name != "schema"
}


COUNTS = ("seed", "train_images", "test_images", "seconds")
MOST_BYTES = 1 << 24  # of a file


def load_record(path: Path) -> Record:
    """The record in a regular file of at most 16 MB; ValueError or OSError says what is wrong with it."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    if status.st_size > MOST_BYTES:
        raise ValueError(f"it has {status.st_size:,} bytes")
    return Record.from_json(path.read_text(encoding="utf-8"))


def packed(correct: np.ndarray) -> str:
    """Which of the N test images are classified correctly, (N,) bool, as text: base64 of ``np.packbits``."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpacked(text: str, images: int) -> np.ndarray:
    """(images,) bool from the text of :func:`packed`; ValueError for another number of images."""
    content = base64.b64decode(text, validate=True)
    if len(content) != -(-images // 8):
        raise ValueError(f"its correct contains {len(content)} bytes, not those of {images} images")
    return np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=images).astype(bool)


def _no_number(constant: str) -> None:
    raise ValueError(f"it contains {constant}, which JSON does not allow")


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
            load_record(path)
        except (ValueError, TypeError, OSError) as error:
            raise UserError(f"{path} cannot be read: {error}; move it away to run its cell again") from error
        return True

    def path(self, key: str) -> Path:
        """Where the first record of this key is or will be."""
        return self.folder / f"{key}.json"

    def add(self, record: Record, *, again: bool = False) -> Path:
        """Write a record: the file appears whole or not at all, and no record ever changes.

        If the key has one already, that stays the only one, unless ``again`` adds a numbered file beside it.
        """
        content, path, number = record.to_json().encode(), self.path(record.key), 1
        while not create_atomically(path, content) and again:
            number += 1
            path = self.folder / f"{record.key}~{number}.json"
        return path

    def read(self, keys: Iterable[str] | None = None) -> tuple[list[Record], list[str]]:
        """Records of these keys (of all by default), sorted by key and time, and a line for each unreadable file.

        Unreadable files stay as they are and are left out.
        """
        wanted = None if keys is None else set(keys)
        records, damaged = [], []
        for path in self._paths():
            if wanted is not None and key_of(path) not in wanted:
                continue
            try:
                record = load_record(path)
                if record.key != key_of(path):
                    raise ValueError(f"it belongs to {record.key}")
                records.append(record)
            except (ValueError, TypeError, OSError) as error:
                damaged.append(f"{path} cannot be read and is left out: {error}; move it away and run its cell again")
        return sorted(records, key=lambda record: (record.key, record.finished)), damaged

    def refresh(self, row: "Callable[[Record], Row] | None" = None) -> tuple[Path, list[str]]:
        """Make results.csv from the records; also returns a line for each unreadable file.

        The file is made once more if another process has added a record meanwhile.

        Args:
            row: values of a record in its columns, :func:`row_of` by default.
        """
        while True:
            paths = self._paths()
            records, damaged = self.read()
            write_atomically(self.table, csv_text(map(row or row_of, records)).encode())
            if self._paths() == paths:
                return self.table, damaged

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("[!.]*.json"))


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
    "split_seed",
    "changed",
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


Row = dict[str, object]


def row_of(record: Record) -> Row:
    """A record's values in the columns of results.csv; ``changed`` depends on yaml files and is empty here."""
    scores = {"accuracy": record.accuracy, "nll": record.nll, "val_accuracy": record.val_accuracy}
    values = {"split_seed": record.config.get("split_seed"), **record.environment, **vars(record), **scores}
    return {name: values.get(name) for name in COLUMNS}


def csv_text(rows: Iterable[Row]) -> str:
    """The text of results.csv; numbers keep all their digits, and no text is a formula of a spreadsheet."""
    return csv_lines([COLUMNS, *([row[name] for name in COLUMNS] for row in rows)])
