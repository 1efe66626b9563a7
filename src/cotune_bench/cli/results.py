"""List, export, merge, rekey or refresh records.

  list method=bss,l2sp rate=0.15     finished runs, filtered by columns of results.csv
  export runs.csv data=digits        the same to a file, .csv or .parquet
  merge other/results                take in the records of another results folder
  rekey                              give runs of an earlier version today's keys
  refresh                            write results.csv again, after records were moved manually

results=FOLDER names the results folder, results by default.
"""

from pathlib import Path

from cotune_bench.cli.parser import Parser, warn
from cotune_bench.config import key_of, upgraded
from cotune_bench.config.changed import described_row
from cotune_bench.config.rekey import rekey
from cotune_bench.errors import UserError, count
from cotune_bench.reports.frame import export, select
from cotune_bench.reports.tables import spaced
from cotune_bench.storage.escape import plain
from cotune_bench.storage.files import check_writable
from cotune_bench.storage.merge import merge
from cotune_bench.storage.records import Record, RecordStore

#: Columns of the list, with the format of their values.
SHOWN = dict.fromkeys(("data", "method", "backbone", "rate", "seed", "split_seed"), "{}")
SHOWN |= {"accuracy": "{:.2f}", "val_accuracy": "{:.2f}", "nll": "{:.4f}", "seconds": "{}", "finished": "{}"}
SHOWN |= {"key": "{}", "changed": "{}"}
#: Number of values of a column that a line names at most, and of the names that a command takes.
MANY = 12
NEEDED = {"export": "a FILE.csv or FILE.parquet", "merge": "one FOLDER"}


def main(arguments: list[str]) -> int:
    """Run one of the commands; damaged records are named and left out."""
    parser = Parser("results", __doc__, results="results")
    parser.add_argument("command", choices=("list", "export", "merge", "rekey", "refresh"))
    parser.add_argument("values", nargs="*", help="filters column=value, a file or a folder")
    given = parser.read(arguments)
    store, values = RecordStore(Path(given.results)), given.values
    if (given.command == "export" and not values) or (given.command == "merge" and len(values) != 1):
        raise UserError(f"{given.command} needs {NEEDED[given.command]}")
    if given.command in ("rekey", "refresh") and values:
        raise UserError(f"{values[0]} has no place here: {given.command} takes no values")
    if given.command == "list":
        show(chosen(store, values))
    elif given.command == "export":
        records = chosen(store, values[1:])
        export(records, Path(values[0]))
        print(f"{count(len(records), 'record')} -> {values[0]}")
    else:
        check_writable(store.folder)
        done, notes = str(store.table), []
        if given.command == "merge":
            taken, kept, notes = merge(store, RecordStore(Path(values[0])), lambda config: key_of(upgraded(config)))
            done = f"{count(taken, 'record')} taken in, {kept} were here"
        elif given.command == "rekey":
            lines = [f"{old} -> {new}" for old, new in rekey(store).items()]
            done = "\n".join([*lines, f"{count(len(lines), 'key')} changed"])
        warn([*notes, *store.refresh(described_row)[1]])
        print(done)
    return 0


def chosen(store: RecordStore, filters: list[str]) -> list[Record]:
    """Records that meet the filters; if none does, a warning for each filter that alone leaves none."""
    if not store.results.is_dir():
        raise UserError(f"there is no folder {store.results}: name one that holds records with results=FOLDER")
    records, damaged = store.read()
    warn(damaged)
    found = select(records, filters)
    for one in filters if records and not found else ():
        name = one.partition("=")[0]
        held = sorted({str(described_row(record)[name]) for record in records})
        if not select(records, [one]) and len(held) <= MANY:
            warn([f"no record has {one}: there is {', '.join(held)}"])
    return found


def show(records: list[Record]) -> None:
    """Print a table."""
    rows = [list(SHOWN)]
    for values in map(described_row, records):
        rows.append(
            ["-" if values[name] is None else plain(form.format(values[name])) for name, form in SHOWN.items()]
        )
    print("\n".join([*spaced(rows), count(len(records), "record")]))
