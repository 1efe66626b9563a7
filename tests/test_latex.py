"""The LaTeX table: escaping by hand, structure, a golden file, and a real run of LaTeX where there is one.

After a wanted change of the output: COTUNE_UPDATE_GOLDEN=1 pytest tests/test_latex.py, then read the diff.
"""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from toy import GOLDEN, ODD, toy_grid, toy_record
from toy import SPEC as TOY

from cotune_bench.config.tables import load_table
from cotune_bench.reports.build import run_frame
from cotune_bench.reports.captions import warnings
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.latex import escape, to_latex

SPEC = replace(TOY, name="latex_toy", title="Toy: 50 % of two {data} sets\\~^ #1 | $x$", data=("digits", ODD))


def toy() -> Grid:
    runs = pd.read_csv(GOLDEN / "grid_runs.csv")
    return build_grid(SPEC, runs.assign(data=runs["data"].replace("cub", ODD)))


def test_output_equals_the_golden_file():
    content = to_latex(toy()).encode()
    if os.environ.get("COTUNE_UPDATE_GOLDEN") == "1":
        (GOLDEN / "latex_toy.tex").write_bytes(content)
    assert content == (GOLDEN / "latex_toy.tex").read_bytes()


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        (ODD, r"a\_b \& \textless{}c\textgreater{}"),
        ("\\{%$#}", r"\textbackslash{}\{\%\$\#\}"),
        ("~^|", r"\textasciitilde{}\textasciicircum{}\textbar{}"),
        ("1 ± 2 – 3", r"1 $\pm$ 2 -- 3"),
        ("two\n  lines\n\n", "two lines"),
    ],
)
def test_escape_by_hand(text, latex):
    assert escape(text) == latex


def test_cells_show_best_in_bold_spread_and_missing_runs():
    lines = to_latex(toy()).splitlines()
    assert r"\multirow{4}{*}{digits} & Fine-tune & 61.00 $\pm$ 1.00 & 91.00 $\pm$ 1.41 (2/3) \\" in lines
    assert r"& BSS & \textbf{70.10 $\pm$ 0.00} & -- (0/3) \\" in lines
    assert r"& BSS & -- (0/3) & \textbf{9.25} (1/3) \\" in lines


def test_baselines_are_below_a_rule_within_their_data_set():
    spec = replace(SPEC, methods=SPEC.methods[:3], baselines=SPEC.methods[3:])
    runs = pd.read_csv(GOLDEN / "grid_runs.csv")
    lines = to_latex(build_grid(spec, runs.assign(data=runs["data"].replace("cub", ODD)))).splitlines()
    below = [lines[place + 1] for place, line in enumerate(lines) if line == r"\cmidrule{2-4}"]
    assert [line.partition(" & ")[0] for line in below] == [r"& my\textbar{}own*"] * 2
    assert sum(r"\multirow{4}" in line for line in lines) == 2


def test_structure_of_the_table():
    text = to_latex(toy())
    bare = re.sub(r"\\[\\{}&%$#_]", "", text.partition("\n")[2])  # without escaped characters
    assert bare.count("{") == bare.count("}")
    assert not set("_^#<>|%±–") & set(bare.replace("latex_toy", ""))
    assert "~" not in bare.replace("~", "", len(re.findall(r"~\\%", text)))  # but before a percent sign
    body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 2 * 4
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {3}
    assert text.count(r"\multirow{4}") == text.count(r"\midrule") == 2
    below = text.partition(r"\footnotesize")[2]
    assert all(escape(line) in below for line in warnings(toy()))
    assert r"\label{tab:latex_toy}" in text
    assert text.count(r"\caption") == 1


def test_an_empty_table_has_no_bold_cell():
    text = to_latex(build_grid(SPEC, pd.DataFrame()))
    assert r"\textbf" not in text
    assert "no run has finished yet" in text


def has_latex() -> bool:
    find = shutil.which("kpsewhich")
    names = ["booktabs.sty", "multirow.sty"]
    return (
        bool(find and shutil.which("pdflatex"))
        and subprocess.run([find, *names], capture_output=True).returncode == 0
    )


def compiled(folder: Path, *grids: Grid) -> str:
    """What pdflatex says to a plain article with these tables."""
    packages = r"\usepackage{booktabs}\usepackage{multirow}"
    tables = "\n".join(map(to_latex, grids))
    (folder / "toy.tex").write_text(rf"\documentclass{{article}}{packages}\begin{{document}}{tables}\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "toy.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "toy.pdf").stat().st_size > 1000
    return done.stdout


def full(name: str) -> Grid:
    """A table of the package with made-up runs in every cell."""
    table = load_table(name)
    axes = ("data", "method", "rate", "seed")
    spec = TableSpec(name, table["title"], *(tuple(table[axis]) for axis in axes))
    rows = [dict(zip(axes, place, strict=True)) for place in product(*(table[axis] for axis in axes))]
    records = [toy_record(key=f"run{number}", accuracy=60.0 + number % 7, **row) for number, row in enumerate(rows)]
    return build_grid(spec, run_frame(records)[0])


@pytest.mark.skipif(not has_latex(), reason="needs pdflatex with booktabs and multirow")
def test_tables_compile_and_fit_the_text_width(tmp_path):
    grids = [full(name) for name in ("table2", "table3", "desk")]
    assert "Overfull" not in compiled(tmp_path, toy(), *grids)


@pytest.mark.skipif(not has_latex(), reason="needs pdflatex with booktabs and multirow")
def test_what_is_odd_compiles(tmp_path):
    compiled(tmp_path, toy_grid(), build_grid(SPEC, pd.DataFrame()))


def test_the_papers_number_is_no_part_of_a_caption():
    assert r"\caption{CUB-200-2011, Stanford Cars" in to_latex(full("table2"))
