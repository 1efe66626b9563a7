"""Records taken in from another results folder."""

from collections.abc import Callable

from cotune_bench.errors import UserError
from cotune_bench.storage.records import Record, RecordStore

#: Inputs of a run that its key does not contain.
INPUTS = {"images": "data_sha256", "source weights": "weights_sha256"}


def merge(ours: RecordStore, theirs: RecordStore, expected: Callable[[dict], str]) -> tuple[int, int, list[str]]:
    """Take in the records of another results folder; no file of ours is ever changed.

    Of a key that both hold, ours stays.

    Args:
        expected: the key of a record's configuration; a record with another key is named and left out.

    Returns:
        numbers of records taken in and of records whose key was here, and a line for each of these that differs in
        accuracy or nll and for each damaged file.
    """
    if not theirs.folder.is_dir():
        raise UserError(f"{theirs.results} holds no records: name a results folder")
    if theirs.folder.resolve() == ours.folder.resolve():
        raise UserError(f"{theirs.results} is the results folder itself: name another one")
    read, lines = theirs.read()
    found = []
    for record in read:
        if reason := _foreign(record, expected):
            lines.append(f"{record.key} is left out: {reason}")
        else:
            found.append(record)
    here: dict[str, list[Record]] = {}
    for record in ours.read()[0]:
        here.setdefault(record.key, []).append(record)
    new = {record.key for record in found if not ours.path(record.key).exists()}
    for record in found:
        if record.key in new:
            ours.add(record, again=True)  # reruns of one cell stay side by side
        elif record.key not in here:
            lines.append(f"{record.key}: ours cannot be read and stays; move it away to take theirs in")
        elif not any((mine.accuracy, mine.nll) == (record.accuracy, record.nll) for mine in here[record.key]):
            mine = here[record.key][-1]
            other = [what for what, name in INPUTS.items() if getattr(mine, name) != getattr(record, name)]
            why = f", from other {' and '.join(other)}" if other else ""
            lines.append(f"{record.key}: ours has {_scores(mine)}, theirs {_scores(record)}{why}; ours stays")
    taken = sum(record.key in new for record in found)
    return taken, len(found) - taken, lines


def _foreign(record: Record, expected: Callable[[dict], str]) -> str:
    """Why a record is not that of its configuration; empty if it is."""
    try:
        key = expected(record.config)
    except (KeyError, TypeError, AttributeError, ValueError):
        return "its config is not that of a run"
    rekey = "results rekey renames records of earlier versions"
    return "" if key == record.key else f"its config belongs to {key}; {rekey}"


def _scores(record: Record) -> str:
    return f"{record.accuracy:.2f} % and nll {record.nll:.4g}"
