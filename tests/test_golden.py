"""Every text format over the committed toy records, byte by byte, and LaTeX's own opinion of its table.

After a wanted change of the output: COTUNE_UPDATE_GOLDEN=1 pytest tests/test_golden.py, then read the diff.
"""

import csv
import functools
import io
import os
import shutil
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from toy import GOLDEN, GRID, ODD, SPEC, committed, piped, toy_grid, toy_record, toy_records

from cotune_bench.config.tables import load_table
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.published import compare_texts
from cotune_bench.reports.tables import to_csv, to_latex, to_markdown

UPDATE = os.environ.get("COTUNE_UPDATE_GOLDEN") == "1"


def latex_toy() -> Grid:
    runs = pd.read_csv(GOLDEN / "grid_runs.csv")
    spec = replace(GRID, name="latex_toy", title="Toy: 50 % of two {data} sets\\~^ #1 | $x$", data=("digits", ODD))
    return build_grid(spec, runs.assign(data=runs["data"].replace("cub", ODD)))


@functools.cache
def texts() -> dict[str, str]:
    found = {"latex_toy.tex": to_latex(latex_toy())}
    for grid in (toy_grid(), build_grid(GRID, pd.read_csv(GOLDEN / "grid_runs.csv"))):
        formats = {"md": to_markdown, "csv": to_csv, "txt": piped, "tex": to_latex}
        found |= {f"{grid.spec.name}.{suffix}": write(grid) for suffix, write in formats.items()}
    return found | compare_texts(toy_grid(), "table2")


def test_the_committed_records_are_those_described():
    assert committed() == toy_records()


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("*toy*") if path.suffix != ".html"))
def test_text_equals_the_golden_file(name):
    """Byte by byte; statistics to 9 digits: the last ones are those of scipy's release."""
    content = texts()[name]
    if UPDATE:
        (GOLDEN / name).write_text(content, encoding="utf-8")
    golden = (GOLDEN / name).read_text(encoding="utf-8")
    if name.startswith("toy-") and name.endswith(".csv"):
        for ours, theirs in zip(csv.reader(io.StringIO(content)), csv.reader(io.StringIO(golden)), strict=True):
            wanted = [
                pytest.approx(v, rel=1e-9, abs=1e-12) if isinstance(v, float) else v for v in map(number, theirs)
            ]
            assert list(map(number, ours)) == wanted
    else:
        assert content == golden, "if this is wanted: COTUNE_UPDATE_GOLDEN=1 pytest tests/test_golden.py"


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def full(name: str) -> Grid:
    """A table of the package with made-up runs in every cell."""
    table = load_table(name)
    axes = ("data", "method", "rate", "seed")
    spec = TableSpec(name, table["title"], *(tuple(table[axis]) for axis in axes))
    rows = [dict(zip(axes, place, strict=True)) for place in product(*(table[axis] for axis in axes))]
    records = [toy_record(key=f"run{number}", accuracy=60.0 + number % 7, **row) for number, row in enumerate(rows)]
    return build_grid(spec, run_frame(records)[0])


def test_latex_has_no_best_cell_in_an_empty_table_and_names_the_data_sets():
    assert r"\textbf" not in to_latex(build_grid(SPEC, pd.DataFrame()))
    assert r"\caption[CUB-200-2011, Stanford Cars" in to_latex(full("table2"))  # LaTeX numbers tables itself


def has_latex() -> bool:
    find = shutil.which("kpsewhich")
    found = find and subprocess.run([find, "booktabs.sty"], capture_output=True, check=False).returncode == 0
    return bool(found and shutil.which("pdflatex"))


@pytest.mark.skipif(not has_latex(), reason="needs pdflatex with booktabs")
def test_tables_compile_and_fit_the_text_width(tmp_path):
    grids = [latex_toy(), toy_grid(), build_grid(SPEC, pd.DataFrame()), *map(full, ("table2", "table3"))]
    tables = "\n".join(map(to_latex, grids))
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{tables}\end{{document}}"
    Path(tmp_path, "toy.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "toy.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
