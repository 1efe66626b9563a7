"""Names of classes, files and settings, written so that other programs read them as text: one function for each."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

#: C0 and C1 controls, line and paragraph separators, marks of direction, and lone surrogates.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MOST = 4096  # characters of a text in a record
#: Beginnings that spreadsheets read as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plain(text: object) -> str:
    """For a terminal or a log: controls, which could move the cursor or break the line, as their codes."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), str(text))


def strange_text(value: object) -> str | None:
    """The first text or name in nested plain data that has controls or more than 4,096 characters."""
    if isinstance(value, str):
        return value if len(value) > MOST or plain(value) != value else None
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return next((text for one in inner if (text := strange_text(one)) is not None), None)


def cell(value: object) -> object:
    """For a CSV file: a text that a spreadsheet would compute gets an apostrophe first; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    return f"'{plain(value)}" if value.startswith(("'", *FORMULA)) else plain(value)


def uncell(text: str) -> str:
    """The text that :func:`cell` wrote, but for controls."""
    return text[1:] if text.startswith(tuple(f"'{sign}" for sign in ("'", *FORMULA))) else text


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """The text of a CSV file of these rows."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([list(map(cell, row)) for row in rows])
    return buffer.getvalue()


def markdown(text: object) -> str:
    """For Markdown, on one line: no HTML, code, bold, table cell, link, heading, quotation or list."""
    escaped = re.sub(r"([\\|*`<]|\](?=[(\[:]))", r"\\\1", plain(" ".join(str(text).split())))
    escaped = re.sub(r"\b(https?|ftp|mailto)(?=:)|\b(www)(?=\.)", r"\1\2\\", escaped, flags=re.IGNORECASE)
    return re.sub(r"^(#|>|=|[-+](?=[\s+-]|$)|\d+(?=[.)](\s|$)))", _first_sign, escaped)


def _first_sign(found: re.Match[str]) -> str:
    return f"{found[0]}\\" if found[0].isdecimal() else f"\\{found[0]}"


#: What LaTeX reads as commands, or its default font does not have.
LATEX = str.maketrans(
    {character: rf"\{character}" for character in "{}&%$#_"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
)


def latex(text: object) -> str:
    """For LaTeX, on one line."""
    return plain(" ".join(str(text).split())).translate(LATEX)
