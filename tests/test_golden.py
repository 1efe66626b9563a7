"""Every text format over the committed toy records, byte by byte.

After a wanted change of the output: COTUNE_UPDATE_GOLDEN=1 pytest tests/test_golden.py, then read the diff.
"""

import csv
import io
import os

import pytest
from rich.console import Console
from toy import GOLDEN, ODD, committed, toy_grid, toy_records

from cotune_bench.reports.grid import Grid
from cotune_bench.reports.latex import to_latex
from cotune_bench.reports.published_tables import compare_texts
from cotune_bench.reports.tables import print_grid, to_csv, to_markdown
from cotune_bench.storage.records import RecordStore

UPDATE = os.environ.get("COTUNE_UPDATE_GOLDEN") == "1"


def piped(grid: Grid) -> str:
    file = io.StringIO()
    print_grid(grid, Console(file=file, width=100, force_terminal=False, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def texts() -> dict[str, str]:
    grid = toy_grid()
    tables = {"toy.md": to_markdown(grid), "toy.csv": to_csv(grid), "toy.tex": to_latex(grid), "toy.txt": piped(grid)}
    return tables | compare_texts(grid, "table2")


def test_the_committed_records_are_those_described():
    if UPDATE:
        store = RecordStore(GOLDEN)
        for record in toy_records():
            store.path(record.key).unlink(missing_ok=True)
            store.add(record)
        store.table.unlink()  # only the records are kept
    assert committed() == toy_records()


@pytest.mark.parametrize("name", ["toy.md", "toy.csv", "toy.tex", "toy.txt", "toy-compare.md"])
def test_text_equals_the_golden_file(name):
    content = texts()[name].encode()
    if UPDATE:
        (GOLDEN / name).write_bytes(content)
    assert content == (GOLDEN / name).read_bytes(), (
        "if this is wanted: COTUNE_UPDATE_GOLDEN=1 pytest tests/test_golden.py"
    )


@pytest.mark.parametrize("name", ["toy-compare.csv", "toy-order.csv"])
def test_statistics_equal_the_golden_file(name):
    """Numbers to 9 digits: the last ones are those of scipy's release."""
    content = texts()[name]
    if UPDATE:
        (GOLDEN / name).write_text(content, encoding="utf-8")
    golden = (GOLDEN / name).read_text(encoding="utf-8")
    for ours, theirs in zip(csv.reader(io.StringIO(content)), csv.reader(io.StringIO(golden)), strict=True):
        assert list(map(number, ours)) == [
            pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
            for value in map(number, theirs)
        ]


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def test_twice_gives_the_same_bytes():
    assert texts() == texts()


def test_the_golden_files_show_what_they_are_for():
    cells = {(cell.data, cell.method, cell.rate): cell for cell in toy_grid().cells}
    assert (cells["cub", "bss", 0.15].mean, cells["cub", "bss", 0.15].spread) == (47.7, 0.0)
    assert (cells["cub", "my|own*", 0.15].n, cells["cub", "my|own*", 0.15].spread) == (1, None)
    markdown, latex = texts()["toy.md"], texts()["toy.tex"]
    assert "12.50 (1/3)" in markdown
    assert "– (0/3)" in markdown
    assert r"a_b & \<c>" in markdown
    assert r"a\_b \& \textless{}c\textgreater{}" in latex
    assert "Random weights, not pre-trained, in 1 of 15 runs of cub." in markdown
    assert ODD not in latex
