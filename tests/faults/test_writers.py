"""Several processes at once: writers of records that are killed, sweeps over the same cells."""

import csv
import dataclasses
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from cotune_bench.records import Record, RecordStore
from faults.children import FAULTS, Child, figures, slowly, start

pytestmark = FAULTS


def write_records(results: Path, writer: int, template: Record) -> int:
    """Add 50 records, ten of them common to all writers, and note each that the store has taken."""
    os.fsync = slowly(os.fsync, 0.005)
    taken = os.open(results / f"taken{writer}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(50):
        key = f"common-{number}" if number < 10 else f"writer{writer}-{number}"
        RecordStore(results).add(dataclasses.replace(template, key=key))
        os.write(taken, f"{key}\n".encode())
    return 0


def test_no_record_of_eight_killed_writers_is_lost_double_or_torn(results, tmp_path):
    fields = dict.fromkeys(Record.__dataclass_fields__, "x")
    numbers = dict.fromkeys(("rate", "accuracy", "nll", "val_accuracy", "seconds"), 0.5)
    counts = dict.fromkeys(("seed", "train_images", "test_images", "schema"), 1)
    template = Record(**{**fields, **numbers, **counts, "config": {"long": "x" * 20_000}, "environment": {}})

    def writing(writer: int) -> Child:
        return Child(tmp_path, write_records, results, writer, template)

    rng, kills = random.Random(), 0
    writers = {writer: writing(writer) for writer in range(8)}
    while kills < 30:
        time.sleep(rng.uniform(0, 0.1))
        writer = rng.randrange(8)
        kills += writers[writer].end(signal.SIGKILL)[0] == -signal.SIGKILL
        writers[writer] = writing(writer)
    assert [child.end()[0] for child in writers.values()] == [0] * 8
    records, damaged = RecordStore(results).read()
    found = Counter(record.key for record in records)
    taken = {key for path in results.glob("taken*") for key in path.read_text().splitlines()}
    expected = {f"common-{number}" for number in range(10)}
    expected |= {f"writer{writer}-{number}" for writer in range(8) for number in range(10, 50)}
    figures["kill -9 of a process that writes records"] += kills
    figures["records written by 8 processes"] += len(records)
    figures["records lost"] += len(taken - found.keys())
    figures["records double"] += sum(found.values()) - len(found)
    figures["records torn"] += len(damaged)
    assert found.keys() == taken == expected
    assert set(found.values()) == {1}
    assert damaged == []


def test_two_sweeps_at_once_share_the_cells(results):
    sweep = ("-m", "protocol.updates=30", "rate=0.15,0.3", "seed=0,1,2")
    runs = [start(results, *sweep) for _ in range(2)]
    ended = [run.end() for run in runs]
    assert [code for code, _, _ in ended] == [0, 0], ended
    done = [int(out.splitlines()[-1].split(" ")[0]) for _, out, _ in ended]
    assert sum(done) == 6
    computed = Counter(line.split(" ")[0] for line in (results / "computed").read_text().splitlines())
    assert len(computed) == 6
    figures["cells of two sweeps at once"] += len(computed)
    figures["cells computed twice"] += sum(computed.values()) - len(computed)
    assert set(computed.values()) == {1}
    with (results / "results.csv").open() as file:
        assert sorted(row["key"] for row in csv.DictReader(file)) == sorted(computed)
    assert len(list((results / "records").iterdir())) == 6
