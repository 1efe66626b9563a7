"""Several processes at once: writers of records that are killed, sweeps over the same cells."""

import csv
import dataclasses
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np

from cotune_bench.storage.records import SCHEMA, Record, RecordStore, packed
from faults.children import FAULTS, Child, start

pytestmark = FAULTS

#: Records of each writer: the environment says 1000 for the full form, which docs/reliability.md quotes.
EACH = int(os.environ.get("FAULTS_RECORDS", "50"))
COMMON = EACH // 5


def write_records(results: Path, writer: int, template: Record) -> int:
    """Add records, a fifth of them common to all writers, and note each that the store has taken.

    Goes on two before the last that was noted, whose records are there.
    """
    os.fsync = lambda _file: time.sleep(0.01)  # for a kill, unlike a power cut, only the pause matters
    path = results / f"taken{writer}"
    noted = len(set(path.read_text().splitlines())) if path.exists() else 0
    taken = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(max(noted - 2, 0), EACH):
        key = f"common-{number}" if number < COMMON else f"writer{writer}-{number}"
        RecordStore(results).add(dataclasses.replace(template, key=key))
        os.write(taken, f"{key}\n".encode())
    return 0


def test_no_record_of_eight_killed_writers_is_lost_double_or_torn(results, tmp_path):
    fields = dict.fromkeys(Record.__dataclass_fields__, "x")
    numbers = dict.fromkeys(("rate", "seconds"), 0.5)
    counts = dict.fromkeys(("seed", "train_images", "test_images"), 1) | {"schema": SCHEMA}
    rest = {"correct": packed(np.ones(1, bool)), "config": {"long": ["x" * 50] * 400}, "environment": {}}
    rest |= {"metrics": {"accuracy": 0.5, "nll": 0.5}, "validation": {}, "primary": "accuracy", "costs": {}}
    template = Record(**{**fields, **numbers, **counts, **rest})

    def writing(writer: int) -> Child:
        return Child(tmp_path, write_records, results, writer, template)

    rng, kills = random.Random(), 0
    writers = {writer: writing(writer) for writer in range(8)}
    while alive := [writer for writer, child in writers.items() if not child.ended()]:
        time.sleep(rng.uniform(0, 0.1))
        writer = rng.choice(alive)
        if kills < 30 + EACH // 10 and writers[writer].end(signal.SIGKILL)[0] == -signal.SIGKILL:
            kills += 1
            writers[writer] = writing(writer)
    assert kills
    assert [child.end()[0] for child in writers.values()] == [0] * 8
    records, damaged = RecordStore(results).read()
    found = Counter(record.key for record in records)
    taken = {key for path in results.glob("taken*") for key in path.read_text().splitlines()}
    expected = {f"common-{number}" for number in range(COMMON)}
    expected |= {f"writer{writer}-{number}" for writer in range(8) for number in range(COMMON, EACH)}
    with RecordStore(results).refresh()[0].open() as file:
        rows = [row["key"] for row in csv.DictReader(file)]
    assert found.keys() == taken == expected
    assert set(found.values()) == {1}
    assert damaged == []
    assert rows == sorted(expected)


def test_two_sweeps_at_once_share_the_cells(results):
    sweep = ("-m", "protocol.updates=30", "rate=0.15,0.3", "seed=0,1,2")
    runs = [start(results, *sweep) for _ in range(2)]
    ended = [run.end() for run in runs]
    assert [code for code, _, _ in ended] == [0, 0], ended
    done = [int(out.splitlines()[-1].split(" ")[0]) for _, out, _ in ended]
    assert sum(done) == 6
    computed = Counter(line.split(" ")[0] for line in (results / "computed").read_text().splitlines())
    assert len(computed) == 6
    assert set(computed.values()) == {1}
    with (results / "results.csv").open() as file:
        assert sorted(row["key"] for row in csv.DictReader(file)) == sorted(computed)
    assert len(list((results / "records").iterdir())) == 6
