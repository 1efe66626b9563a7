"""Estimate what the missing cells of a table cost: cotune-bench plan table=table2 --devices 4

Times a few updates and evaluations of each method on this machine and prints the time on one device and on several,
and disk. Takes the settings that the runs are started with. Nothing is downloaded or written.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from omegaconf import DictConfig

from cotune_bench.cli.parser import Parser, take_tables
from cotune_bench.config import build, compose_config, reader
from cotune_bench.config.protocol import views_of
from cotune_bench.errors import UserError
from cotune_bench.reports.status import TableStatus, duration, table_status
from cotune_bench.reports.tables import spaced
from cotune_bench.training.pace import Counts, Pace

#: Record, settings, log and metrics of a run on disk: those of the desk benchmark take 6 to 24 kB, longer runs more.
RUN_BYTES = 40_000
#: Checkpoints of a run at once: the newest two, and one that is being written.
CHECKPOINTS = 3
NOTES = (
    "timed on random pixels in memory with random weights, beside whatever else runs here",
    "left out: the start of every run (seconds), decoding the images once, pre-training or downloading a backbone, "
    "and what methods prepare once for a data set and rate (Co-Tuning's relationship, DELTA's attention)",
)


@dataclass(frozen=True)
class Cost:
    """Of one run: updates, the method's pace here, seconds of evaluation, bytes of its data set's decoded images."""

    updates: int
    pace: Pace
    evaluation: float
    decoded: int = 0
    note: str = ""

    @property
    def seconds(self) -> float:
        """Without what methods prepare once."""
        return self.updates * self.pace.update + self.evaluation


@dataclass(frozen=True)
class Item:
    """The number of missing cells of one data set and method, and what one costs."""

    data: str
    method: str
    cells: int
    cost: Cost


def main(arguments: list[str]) -> int:
    """Measure and print, with a line on standard error for every measurement."""
    parser = Parser("plan", __doc__)
    parser.add_argument("overrides", nargs="*", help="table=NAME, and the settings of its runs")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="devices that run at once (1)")
    given = parser.read(arguments)
    if given.devices < 1:
        raise UserError(f"--devices {given.devices} cannot be used: give a whole number above 0")
    names, overrides = take_tables(given.overrides)
    if len(names) != 1:
        raise UserError("plan needs one table: table=NAME")
    table = table_status(names[0], overrides)
    print("\n".join(plan_lines(table, items_of(table), given.devices)))
    return 0


def items_of(table: TableStatus) -> list[Item]:
    """The missing cells of a table; each method is timed once for each backbone and protocol.

    Raises:
        UserError: a data set is absent and its size is not known.
    """
    missing = [cell for cell in table.cells if cell.state not in ("done", "running")]
    paces: dict[str, Pace] = {}
    items = []
    for (data, method), group in groupby(missing, key=lambda cell: (cell.data, cell.method)):
        cells = list(group)
        config = compose_config([*cells[0].given, *table.rest])
        items.append(Item(data, method, len(cells), cost_of(config, paces, method)))
    return items


def cost_of(config: DictConfig, paces: dict[str, Pace], row: str = "") -> Cost:
    """What one run of a configuration costs on this machine, timed unless ``paces`` has its like, which is added.

    Runs are alike that have the same method, or row of a table, on the same backbone by the same protocol.
    """
    counts, protocol = counts_of(config), config.protocol
    kind = f"{row or config.method.name} {config.backbone} {protocol} {counts.channels}"
    if kind not in paces:
        from cotune_bench.training import timing  # torch takes seconds to import

        print(f"timing {config.method.name} on {config.backbone.name}", file=sys.stderr, flush=True)
        paces[kind] = timing.measure(config, counts)
    evaluation = (counts.val + views_of(protocol.views) * counts.test) * paces[kind].view
    decoded = (counts.train + counts.val + counts.test) * protocol.resize**2 * counts.channels
    kept = config.decode_cache and not counts.fitting
    return Cost(protocol.updates, paces[kind], evaluation, decoded if kept else 0, counts.note)


def counts_of(config: DictConfig) -> Counts:
    """From the data set if it is here, else as published; UserError if neither is known."""
    try:
        data = build(config.data)
    except UserError as error:
        published = reader(config.data).numbers(config.data)
        if not published:
            raise
        train, val = _held_out(published["train"], published.get("val"), config.protocol.val)
        note = f"{error} -- planned with the published numbers of images"
        return Counts(published["classes"], train, val, published["test"], 3, False, note)
    train, val = _held_out(len(data.train), None if data.val is None else len(data.val), config.protocol.val)
    pixels = getattr(data, "pixels", None)
    channels = 3 if pixels is None else pixels.shape[3]
    fitting = pixels is not None and pixels.shape[1:3] == (config.protocol.resize,) * 2
    return Counts(len(data.classes), train, val, len(data.test), channels, fitting, "")


def _held_out(train: int, val: int | None, share: float) -> tuple[int, int]:
    return (train - int(share * train), int(share * train)) if val is None else (train, val)


def plan_lines(table: TableStatus, items: Sequence[Item], devices: int = 1) -> list[str]:
    """What the terminal shows."""
    missing, done = sum(item.cells for item in items), sum(cell.state == "done" for cell in table.cells)
    elsewhere = len(table.cells) - done - missing
    running = f", {elsewhere} running" if elsewhere else ""
    lines = [f"{table.name} in {table.results}: {done} cells done{running}, {missing} to run"]
    if not items:
        return lines
    rows = [["", "", "cells", "s/update", "updates", "evaluation", "a run", "all"]]
    for item in items:
        cost = item.cost
        numbers = [str(item.cells), f"{cost.pace.update:.3g}", str(cost.updates)]
        times = map(duration, (cost.evaluation, cost.seconds, item.cells * cost.seconds))
        rows.append([item.data, item.method, *numbers, *times])
    lines += ["", *spaced(rows)]
    total, longest = sum(item.cells * item.cost.seconds for item in items), max(item.cost.seconds for item in items)
    lines += ["", f"on one device ({items[0].cost.pace.device}): {duration(total)}"]
    if devices > 1:
        lines.append(f"on {devices} such devices: {duration(max(total / devices, longest))} or a little more")
    decoded = sum({item.data: item.cost.decoded for item in items}.values())
    saved = CHECKPOINTS * devices * max(item.cost.pace.checkpoint for item in items)
    lines.append(
        f"disk: decoded images {decoded / 1e9:.3g} GB, checkpoints {saved / 1e9:.3g} GB during runs, "
        f"records and logs {missing * RUN_BYTES / 1e9:.3g} GB"
    )
    return [*lines, *NOTES, *dict.fromkeys(item.cost.note for item in items if item.cost.note)]
