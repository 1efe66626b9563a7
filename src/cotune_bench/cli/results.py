"""Look at records, hand them on, take others in.

    python scripts/results.py list method=bss,l2sp rate=0.15     finished runs, filtered by columns of results.csv
    python scripts/results.py export runs.csv data=digits        the same to a file, .csv or .parquet
    python scripts/results.py merge other/results                take in the records of another results folder
    python scripts/results.py rekey                              give runs of an earlier version today's keys
    python scripts/results.py refresh                            make results.csv anew, after records moved by hand

``results=FOLDER`` names the results folder, ``results`` by default.
"""

import sys
from pathlib import Path

from cotune_bench.cli import guarded
from cotune_bench.errors import UserError
from cotune_bench.reports.exchange import export, merge, rekey, select
from cotune_bench.storage.files import check_writable
from cotune_bench.storage.records import Record, RecordStore, row_of

SHOWN = (
    "data",
    "method",
    "backbone",
    "rate",
    "seed",
    "split_seed",
    "accuracy",
    "val_accuracy",
    "nll",
    "seconds",
    "finished",
)
MANY = 12  # values of a column, of which a line names them all


def main(arguments: list[str]) -> int:
    """List, export, merge, rekey or refresh; damaged records are named and left out."""
    if not arguments or arguments[0] in ("--help", "-h"):
        print(__doc__)
        return 0
    command, *rest = arguments
    folders = [text.partition("=")[2] for text in rest if text.startswith("results=")]
    rest = [text for text in rest if not text.startswith("results=")]
    store = RecordStore(Path(folders[-1] if folders else "results"))
    if command == "list":
        show(chosen(store, rest))
    elif command == "export" and rest:
        records = chosen(store, rest[1:])
        export(records, Path(rest[0]))
        print(f"{len(records)} records -> {rest[0]}")
    elif command == "merge" and len(rest) == 1:
        check_writable(store.folder)
        taken, kept, told = merge(store, RecordStore(Path(rest[0])))
        warn([*told, *store.refresh()[1]])
        print(f"{taken} records taken in, {kept} were here")
    elif command == "refresh" and not rest:
        check_writable(store.results)
        path, damaged = store.refresh()
        warn(damaged)
        print(path)
    elif command == "rekey" and not rest:
        check_writable(store.results)
        pairs = rekey(store)
        for old, new in pairs.items():
            print(f"{old} -> {new}")
        warn(store.refresh()[1])
        print(f"{len(pairs)} keys were changed")
    elif command in ("export", "merge"):
        raise UserError(
            f"{command} needs one name: {'FILE.csv or FILE.parquet' if command == 'export' else 'FOLDER'}"
        )
    else:
        raise UserError(f"{command} is unknown: choose list, export, merge, rekey or refresh")
    return 0


def chosen(store: RecordStore, filters: list[str]) -> list[Record]:
    """Records that meet the filters; where none does, a line for each filter that alone leaves none."""
    records, damaged = store.read()
    warn(damaged)
    found = select(records, filters)
    if records and not found:
        for one in filters:
            name = one.partition("=")[0]
            held = sorted({str(row_of(record)[name]) for record in records})
            if not select(records, [one]) and len(held) <= MANY:
                warn([f"no record has {one}: there is {', '.join(held)}"])
    return found


def show(records: list[Record]) -> None:
    """A table on the terminal."""
    rows = [list(SHOWN)] + [[_text(name, row_of(record)[name]) for name in SHOWN] for record in records]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print(f"{len(records)} records")


def _text(name: str, value: object) -> str:
    if value is None:
        return "-"
    return {"accuracy": "{:.2f}", "val_accuracy": "{:.2f}", "nll": "{:.4f}"}.get(name, "{}").format(value)


def warn(lines: list[str]) -> None:
    """What is amiss, on standard error."""
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
