"""State of runs and sweeps from their files: running, silent, failed, how much is done."""

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

SILENCE = 60.0  # seconds without a heartbeat after which a run counts as gone


def read_status(path: Path) -> dict | None:
    """Content of a status file, None without one; that of a failed run where it cannot be read."""
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError, RecursionError):
        status = None
    if isinstance(status, dict):
        return status
    return {"state": "failed", "reason": f"{path} cannot be read; run the cell again"}


def silent(status: dict) -> str:
    """Why a running run is considered dead; empty if it is alive."""
    if gone(status):
        return "its process is gone"
    silence = (datetime.now(UTC) - datetime.fromisoformat(status["heard"])).total_seconds()
    return f"last heartbeat {duration(silence)} ago" if silence > SILENCE else ""


def gone(status: dict) -> bool:
    """Whether the process ran on this machine and has ended."""
    if status.get("host") == socket.gethostname() and os.name != "nt":  # there, signal 0 is no question but Ctrl-C
        try:
            os.kill(int(status.get("pid", 0)), 0)
        except ProcessLookupError:
            return True
        except OSError:  # somebody else's
            pass
    return False


def duration(seconds: float) -> str:
    """Seconds in the unit that a reader would choose."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def share_done(status: dict | None) -> float:
    """Part of a run's updates that are done, in [0, 1]."""
    return status.get("done", 0) / status["updates"] if status and status.get("updates") else 0.0


def time_left(seconds: float, done: float, left: float) -> float | None:
    """Seconds for the rest at the pace so far; None before there is a pace."""
    return seconds / done * left if done > 0 else None


def how_far(done: int, total: int, what: str, left: float | None) -> str:
    """``650/6000 updates, about 3 min left``."""
    return f"{done}/{total} {what}" + ("" if left is None else f", about {duration(left)} left")
