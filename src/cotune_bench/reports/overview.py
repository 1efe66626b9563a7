"""What a results folder is doing: sweeps and runs that run now, what failed, what finished last."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cotune_bench.config.changed import changed_text
from cotune_bench.reports.status import run_state
from cotune_bench.storage.escape import plain
from cotune_bench.storage.records import Record, RecordStore
from cotune_bench.storage.run_state import duration, how_far, read_status, share_done, time_left

SHOWN = 5  # runs of each kind


def overview_lines(results: Path) -> list[str]:
    """What runs now, what failed and what finished last, whatever started it; from the files alone."""
    states = _run_states(results)
    sweeps = [plain(line) for line in _sweeps(results, states)]
    running = [_running(key, state) for key, state in states.items() if state["state"] == "running"]
    kinds = {"failed": ("failed",), "interrupted": ("interrupted", "stale")}
    others = {kind: [one for one in states.items() if one[1]["state"] in kinds[kind]] for kind in kinds}
    lines = ["running now:" if running or sweeps else "nothing runs now", *sweeps, *running]
    for kind, found in others.items():
        if found:
            newest = sorted(found, key=lambda one: str(one[1].get("heard", one[1].get("failed", ""))), reverse=True)
            lines.append(f"{kind}: {len(found)}" + (f", the last {SHOWN}" if len(found) > SHOWN else ""))
            lines += [_line(key, str(state.get("reason", "")).partition("\n")[0]) for key, state in newest[:SHOWN]]
    finished = _finished(results)
    return [*lines, *(["finished last:", *finished] if finished else [f"no run has finished in {plain(results)}"])]


def _line(key: str, text: str) -> str:
    return plain(f"  {key}  {text}").rstrip()


def _run_states(results: Path) -> dict[str, dict]:
    """Status of every run that has begun and has no record, or runs again, by key."""
    recorded = {path.stem for path in (results / "records").glob("[!.]*.json")}
    states = {folder.name: run_state(folder) for folder in sorted((results / "runs").glob("[!.]*"))}
    again = ("running", "stale")
    return {key: one for key, one in states.items() if one and (key not in recorded or one["state"] in again)}


def _running(key: str, state: dict) -> str:
    done = how_far(state.get("done", 0), state.get("updates", 0), "updates", state.get("eta_s"))
    return _line(key, f"{done} ({state.get('host')} pid {state.get('pid')})")


def _sweeps(results: Path, states: dict[str, dict]) -> Iterator[str]:
    """Of each sweep that runs the cells that ended, by their outcome, and the time left."""
    for path in sorted(results.glob(".sweeps/*/sweep.json")):
        about = read_status(path) or {}
        try:
            started = datetime.fromisoformat(about["started"])
            paths = path.parent.glob("outcome*.json")
            outcomes = [json.loads(one.read_text(encoding="utf-8")) for one in paths]
            begun = [one.read_text(encoding="utf-8") for one in path.parent.glob("begun*")]
            cells = int(about["cells"])
        except (KeyError, ValueError, OSError):
            continue
        shares = sum(share_done(states[key]) for key in begun if key in states)
        counts = Counter(one["state"] for one in outcomes)
        seconds = (datetime.now(UTC) - started).total_seconds()
        left = time_left(seconds, len(outcomes) - counts["skipped"] + shares, cells - len(outcomes) - shares)
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        where = f"({about.get('host')} pid {about.get('pid')}, since {duration(seconds)})"
        yield f"  sweep  {how_far(len(outcomes), cells, 'cells', left)}{failed} {where}"


def _finished(results: Path) -> list[str]:
    paths = sorted((results / "records").glob("[!.]*.json"), key=lambda path: path.stat().st_mtime)[-SHOWN:]
    records, damaged = RecordStore(results).read([path.stem.partition("~")[0] for path in paths])
    newest = sorted(records, key=lambda record: record.finished)[-SHOWN:][::-1]
    return [*map(_scores, newest), *damaged]


def _scores(record: Record) -> str:
    return _line(record.key, f"{record.accuracy:.2f} %  {record.finished[:16]}  {changed_text(record)}")
