"""Toy records: what a report must cope with, in few runs; ``tests/golden/records`` holds their files."""

import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from rich.console import Console

from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.tables import print_grid
from cotune_bench.storage.records import Record

GOLDEN = Path(__file__).parent / "golden"
ODD = "a_b & <c>"
SPEC = TableSpec(
    name="toy",
    title="Table 2: toy runs of 50 % | two {sets}",
    data=("cub", ODD),
    methods=("finetune", "bss", "cotuning", "my|own*"),
    rates=(0.15, 1.0),
    units=(0, 1, 2),
    unit="seed",
)
#: Two data sets, replicates and a baseline; runs by tests/golden/grid_runs.csv.
GRID = TableSpec(
    name="grid_toy",
    title="Toy | *two* data sets",
    data=("digits", "cub"),
    methods=("finetune", "bss", "cotuning"),
    rates=(0.15, 1.0),
    units=(0, 1, 2),
    baselines=("my|own*",),
)
ACCURACIES = {
    ("cub", "finetune", 0.15): (45.0, 45.3, 45.6),
    ("cub", "bss", 0.15): (47.7, 47.7, 47.7),  # equal seeds: spread 0
    ("cub", "cotuning", 0.15): (49.0, 49.5),  # unequal n
    ("cub", "my|own*", 0.15): (12.5,),  # one run, random weights, and the paper does not have it
    ("cub", "finetune", 1.0): (77.9, 78.0, 78.4),
    ("cub", "cotuning", 1.0): (80.2, 81.3, 81.0),
    (ODD, "finetune", 0.15): (30.0, 31.0, 33.5),
    (ODD, "cotuning", 0.15): (35.0, 36.0, 35.2),
}


def toy_record(**values: object) -> Record:
    """A record that differs from the usual toy in these values."""
    usual = {
        "key": "toy",
        "method": "finetune",
        "data": "cub",
        "backbone": "resnet50",
        "protocol": "paper",
        "rate": 0.15,
        "seed": 0,
        "train_images": 900,
        "test_images": 5794,
        "weights": "IMAGENET1K_V1",
        "weights_sha256": "0676ba61",
        "data_sha256": "feed",
        "seconds": 12.5,
        "finished": "2026-01-01T00:00:00.000+00:00",
        "config": {"split_seed": 0, "protocol": {"val": 0.2, "split_order": "split_then_sample"}},
        "environment": {"version": "0.1.0", "torch": "2.15.0", "device": "cpu"},
    }
    metrics = {"accuracy": values.pop("accuracy", 50.0), "nll": values.pop("nll", 2.5)}
    validation = values.pop("val_accuracy", None)
    more = {"metrics": metrics, "validation": {} if validation is None else {"accuracy": validation}}
    return Record(**{**usual, **more, **values})


def toy_records() -> list[Record]:
    """One for each accuracy above, in which one run has random weights and one another torch."""
    records = []
    for (data, method, rate), accuracies in ACCURACIES.items():
        for seed, accuracy in enumerate(accuracies):
            own = {"weights": "random"} if method == "my|own*" else {}
            if (data, method, seed) == (ODD, "cotuning", 2):
                own["environment"] = {"version": "0.2.0", "torch": "2.16.0", "device": "NVIDIA H100"}
            key = f"toy{len(records):02d}"
            records.append(
                toy_record(key=key, data=data, method=method, rate=rate, seed=seed, accuracy=accuracy, **own)
            )
    return records


def toy_grid(spec: TableSpec = SPEC) -> Grid:
    """The table of the committed records."""
    frame, damaged = run_frame(committed())
    assert not damaged
    return build_grid(spec, frame)


def committed() -> list[Record]:
    """The records in their files."""
    return [Record.from_json(path.read_text(encoding="utf-8")) for path in sorted(GOLDEN.glob("records/*.json"))]


def piped(grid: Grid) -> str:
    """What a pipe shows of a table."""
    file = io.StringIO()
    print_grid(grid, Console(file=file, width=100, force_terminal=False, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def like_runs(rows: Iterable[dict], **columns: object) -> pd.DataFrame:
    """Runs that differ in these values alone, as the rows that tables are made of."""
    usual = {"data": "digits", "backbone": "glyphnet", "protocol": "desk", "rate": 0.15, "weights": "glyphs"}
    usual |= {"version": "0.1.0", "torch": "2.15.0", "finished": "2024-05-01T10:00:00+00:00"}
    frame = pd.DataFrame([{**usual, "key": f"run{number}", **row} for number, row in enumerate(rows)])
    return frame.assign(**columns)
