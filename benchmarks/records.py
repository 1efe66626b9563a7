"""What records cost as their number grows: adding one, making results.csv, status and grid of a table."""

import platform
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from harness import alternate, environment, exponent, parser, report, row, span, spread

from cotune_bench import config as settings
from cotune_bench.config.tables import load_table, table_cells
from cotune_bench.reports.build import table_grid
from cotune_bench.reports.status import table_status
from cotune_bench.storage.records import Record, RecordStore


def main() -> None:
    arguments = parser(__doc__, rounds=7)
    arguments.add_argument(
        "--counts", type=int, nargs="+", default=[10, 100, 1000, 10_000], help="numbers of records"
    )
    options = arguments.parse_args()
    seconds: dict[str, dict[int, list[float]]] = {}
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            for name, found in measure(Path(folder), count, options.rounds).items():
                seconds.setdefault(name, {})[count] = found
    last = options.counts[-1]
    rows = [row(f"records: {name}, {last:,}", {"ours": found[last]}) for name, found in seconds.items()]
    growth = {name: exponent([*found], [*map(statistics.median, found.values())]) for name, found in seconds.items()}
    figures = {
        "environment": environment(options.threads, ("numpy", "pandas")),
        "seconds": seconds,
        "exponents": growth,
        "rows": rows,
    }
    report(figures, told(seconds, growth), options.json)


def measure(folder: Path, count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every operation in every round, with this many records, Table 2's cells among them."""
    keys = table_cells(load_table("table2")).keys
    fill(folder, count, keys)
    ours, model = RecordStore(folder), example("new")
    new = iter([replace(model, key=f"new{number}") for number in range(rounds + 1)])
    sides: dict[str, Callable[[], object]] = {
        "add one": lambda: ours.add(next(new)),
        "make results.csv": ours.refresh,
        "read Table 2's": lambda: ours.read(keys),
        "status of Table 2": lambda: table_status("table2", [f"results={ours.results}"]),
        "grid of Table 2": lambda: table_grid("table2", [f"results={ours.results}"]),
    }
    alternate(sides, 1)  # wakes libraries and caches
    return alternate(sides, rounds)


def fill(results: Path, count: int, keys: tuple[str, ...]) -> None:
    """Records of these keys and of others of their kind, as many as ``count``; written plainly, which is faster."""
    (results / "records").mkdir(parents=True)
    models = [example(key) for key in keys[:count]]
    for number, model in zip(range(count), cycle(models), strict=False):
        record = model if number < len(keys) else replace(model, key=f"{model.key}-{number}")
        (results / "records" / f"{record.key}.json").write_text(record.to_json())
    RecordStore(results).refresh()


def example(key: str) -> Record:
    """A record with the configuration of a cell of Table 2, as large as a real one."""
    config = settings.run_config(settings.compose_config(["data=cub", "method=cotuning"]))
    data, method, rate, seed = (*key.split("-"), "", "", "", "")[:4]
    texts = dict.fromkeys(("weights", "weights_sha256", "data_sha256"), "0" * 64)
    environment = {"version": "0", "torch": "2", "device": "cpu", "host": platform.node(), "platform": "x" * 40}
    return Record(
        key=key,
        method=method,
        data=data,
        backbone="resnet50",
        protocol="paper",
        rate=float(rate.removeprefix("rate") or 0),
        seed=int(seed.removeprefix("seed") or 0),
        metrics={"accuracy": 70.0, "nll": 1 / 3},
        validation={"accuracy": 200 / 3, "nll": 2 / 3},
        train_images=4800,
        test_images=5794,
        seconds=1000.0,
        finished="2026-01-01T00:00:00.000+00:00",
        config=config,
        environment=environment,
        **texts,
    )


def told(seconds: dict[str, dict[int, list[float]]], growth: dict[str, float]) -> list[str]:
    """The figures as lines of text: median and range over the rounds."""
    lines = []
    for name, found in seconds.items():
        cells = [f"{count:,}: {span(spread(values))}" for count, values in found.items()]
        lines.append(f"{name:18} {', '.join(cells)}; exponent {growth[name]:.2f}")
    return lines


if __name__ == "__main__":
    main()
