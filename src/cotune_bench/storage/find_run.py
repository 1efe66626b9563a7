"""The run that a key, the beginning of a key, a run folder or a record file names; without torch."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from cotune_bench.errors import UserError, some
from cotune_bench.storage.records import Record, RecordStore, key_of, load_record

#: File of a run folder that describes its kept network.
CARD = "model.json"
SHOWN = 8  # candidates that an ambiguous name lists


@dataclass(frozen=True)
class Run:
    """One run: its key, its folder (which may be gone) and its newest record, None before it is finished."""

    key: str
    folder: Path
    record: Record | None


def find_run(results: Path, text: str) -> Run:
    """The run of a results folder that ``text`` names: its key, a beginning, or its folder or record anywhere.

    Raises:
        UserError: no run or several are meant, or the run's record cannot be read.
    """
    path = Path(text).expanduser()
    if (path / CARD).is_file() and path.resolve().parent.name != "runs":  # saved from Python, or moved
        return Run(path.resolve().name, path.resolve(), None)
    if path.is_dir() and path.resolve().parent.name == "runs":
        path = path.resolve()
        return _run(path.parents[1], path.name)
    if path.is_file() and path.suffix == ".json":
        return _recorded(path.resolve())
    known = run_keys(results)
    if text in known:
        return _run(results, text)
    found = [key for key in known if text and key.startswith(text)]
    if len(found) > 1:
        raise UserError(f"{text} means {len(found)} runs: give more of one of {some(found, SHOWN)}")
    if not found:
        near = difflib.get_close_matches(text, known, n=3, cutoff=0.5)
        guess = f"did you mean {' or '.join(near)}?" if near else "see cotune-bench results list"
        raise UserError(f"{text} is no run of {results} ({len(known)} there): {guess}")
    return _run(results, found[0])


def run_keys(results: Path) -> list[str]:
    """Keys of all runs that have a record or a folder, sorted."""
    results = Path(results)
    recorded = {key_of(path) for path in (results / "records").glob("[!.]*.json")}
    begun = {path.name for path in (results / "runs").glob("[!.]*") if path.is_dir()}
    return sorted(recorded | begun)


def _recorded(path: Path) -> Run:
    try:
        record = load_record(path)
    except (ValueError, TypeError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}; name another record") from error
    return Run(record.key, path.parents[1] / "runs" / record.key, record)


def _run(results: Path, key: str) -> Run:
    records, damaged = RecordStore(results).read([key])
    if damaged:
        raise UserError(damaged[0])
    return Run(key, Path(results) / "runs" / key, records[-1] if records else None)
