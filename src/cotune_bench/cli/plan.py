"""What the missing cells of a table will cost: a few updates of each method timed here, times what is to be done."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from omegaconf import DictConfig

from cotune_bench.config import build, compose_config, reader
from cotune_bench.config.protocol import views_of
from cotune_bench.errors import UserError
from cotune_bench.reports.status import table_status
from cotune_bench.training.pace import Counts, Pace

#: Record, settings, log and metrics of a run on disk: those of the desk benchmark take 6 to 24 kB, longer runs more.
RUN_BYTES = 40_000
#: Checkpoints of a run at once: the newest two, and one that is being written.
CHECKPOINTS = 3
LEFT_OUT = (
    "left out: the start of every run (seconds), decoding the images once, pre-training or downloading a backbone, "
    "and what methods prepare once for a data set and rate (Co-Tuning's relationship, DELTA's attention)"
)


@dataclass(frozen=True)
class Item:
    """The missing cells of one data set and method."""

    data: str
    method: str
    cells: int
    updates: int
    pace: Pace
    evaluation: float
    decoded: int
    counts: Counts

    @property
    def seconds(self) -> float:
        """Of one run."""
        return self.updates * self.pace.update + self.evaluation


@dataclass(frozen=True)
class Plan:
    """What is to be done of a table; ``elsewhere`` cells are being run by others."""

    name: str
    results: str
    done: int
    elsewhere: int
    items: list[Item]


def plan(
    name: str,
    overrides: Sequence[str] = (),
    *,
    measure: Callable[[DictConfig, Counts], Pace] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Time every method of a table's missing cells on this machine; what is done costs nothing.

    Methods are timed once for each backbone and protocol, by ``measure``.

    Raises:
        UserError: a data set is not there and its size is not known.
    """
    table = table_status(name, overrides)
    open_cells = [cell for cell in table.cells if cell.state not in ("done", "running")]
    done = sum(cell.state == "done" for cell in table.cells)
    groups = [(pair, list(cells)) for pair, cells in groupby(open_cells, key=lambda cell: (cell.data, cell.method))]
    sizes: dict[str, Counts] = {}
    paces: dict[str, Pace] = {}
    items = []
    for place, ((data, method), cells) in enumerate(groups, start=1):
        config = compose_config([f"data={data}", f"method={method}", *table.rest])
        counts = sizes[data] = sizes.get(data) or counts_of(config)
        kind = f"{method} {config.backbone} {config.protocol} {counts.channels}"
        if kind not in paces:
            progress(f"timing {method} on {config.backbone.name}, {place} of {len(groups)}")
            paces[kind] = (measure or measured)(config, counts)
        pace = paces[kind]
        item = Item(
            data=data,
            method=method,
            cells=len(cells),
            updates=config.protocol.updates,
            pace=pace,
            evaluation=(counts.val + views_of(config.protocol.views) * counts.test) * pace.view,
            decoded=decoded_bytes(config, counts),
            counts=counts,
        )
        items.append(item)
    return Plan(name, table.results, done, len(table.cells) - done - len(open_cells), items)


def counts_of(config: DictConfig) -> Counts:
    """From the data set where it lies, else what was published; UserError where neither is known."""
    try:
        data = build(config.data)
    except UserError as error:
        published = reader(config.data).official
        if not published:
            raise
        train, val = _held_out(published["train"], published.get("val"), config.protocol.val)
        told = f"{error} -- planned with the published numbers of images"
        return Counts(published["classes"], train, val, published["test"], 3, False, told)
    train, val = _held_out(len(data.train), None if data.val is None else len(data.val), config.protocol.val)
    pixels = getattr(data, "pixels", None)
    channels = 3 if pixels is None else pixels.shape[3]
    fitting = pixels is not None and pixels.shape[1:3] == (config.protocol.resize,) * 2
    return Counts(len(data.classes), train, val, len(data.test), channels, fitting, "")


def _held_out(train: int, val: int | None, share: float) -> tuple[int, int]:
    return (train - int(share * train), int(share * train)) if val is None else (train, val)


def measured(config: DictConfig, counts: Counts) -> Pace:
    """The pace on this machine, see :func:`cotune_bench.training.timing.measure`."""
    from cotune_bench.training.timing import measure  # torch takes seconds to import

    return measure(config, counts)


def decoded_bytes(config: DictConfig, counts: Counts) -> int:
    """Size of the decoded images in the cache, 0 where none are kept there."""
    if counts.fitting or not config.decode_cache:
        return 0
    return (counts.train + counts.val + counts.test) * config.protocol.resize**2 * counts.channels


def makespan(items: Sequence[Item], devices: int) -> float:
    """Seconds until the last run ends if every device takes the next cell in the table's order when it is free."""
    free = [0.0] * devices
    for item in items:
        for _ in range(item.cells):
            heapq.heappush(free, heapq.heappop(free) + item.seconds)
    return max(free)


def plan_lines(found: Plan, devices: int = 1) -> list[str]:
    """What the terminal shows."""
    cells = sum(item.cells for item in found.items)
    others = f", {found.elsewhere} being run" if found.elsewhere else ""
    lines = [f"{found.name} in {found.results}: {found.done} cells done{others}, {cells} to run"]
    if not cells:
        return lines
    rows = [["", "", "cells", "s/update", "updates", "s evaluation", "h/run", "h"]]
    for item in found.items:
        numbers = [_short(item.pace.update), str(item.updates), _short(item.evaluation)]
        hours = [_short(item.seconds / 3600), _short(item.cells * item.seconds / 3600)]
        rows.append([item.data, item.method, str(item.cells), *numbers, *hours])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["", *("  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in rows)]
    lines += ["", f"on one device ({found.items[0].pace.device}): {_hours(makespan(found.items, 1))}"]
    if devices > 1:
        lines.append(f"on {devices} such devices: {_hours(makespan(found.items, devices))}")
    decoded = sum({item.data: item.decoded for item in found.items}.values())
    saved = CHECKPOINTS * devices * max(item.pace.checkpoint for item in found.items)
    lines.append(
        f"disk: decoded images {decoded / 1e9:.3g} GB, checkpoints {saved / 1e9:.3g} GB while runs are at it, "
        f"records and logs {cells * RUN_BYTES / 1e9:.3g} GB"
    )
    lines += ["timed on random pixels in memory with random weights, beside whatever else runs here", LEFT_OUT]
    return [*lines, *dict.fromkeys(item.counts.told for item in found.items if item.counts.told)]


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{_short(hours)} h" + (f" ({_short(hours / 24)} days)" if hours > 72 else "")


def _short(value: float) -> str:
    """Three digits, and none cut off before the point."""
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"
