"""The LaTeX table: escaping by hand, structure, a golden file, and a real run of LaTeX where there is one.

After a wanted change of the output: COTUNE_UPDATE_GOLDEN=1 pytest tests/test_latex.py, then read the diff.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from cotune_bench.reports.captions import warnings
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.latex import escape, to_latex

GOLDEN = Path(__file__).parent / "golden"
ODD = "a_b & <c>"
SPEC = TableSpec(
    name="latex_toy",
    title="Toy: 50 % of two {data} sets\\~^ #1 | $x$",
    data=("digits", ODD),
    methods=("finetune", "bss", "cotuning", "my|own*"),
    rates=(0.15, 1.0),
    seeds=(0, 1, 2),
)


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


def test_structure_of_the_table():
    text = to_latex(toy())
    bare = re.sub(r"\\[\\{}&%$#_]", "", text.partition("\n")[2])  # without escaped characters
    assert bare.count("{") == bare.count("}")
    assert not set("_^~#<>|%±–") & set(bare.replace("latex_toy", ""))
    body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 2 * 4
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {3}
    assert text.count(r"\multirow{4}") == text.count(r"\midrule") == 2
    assert text.count(r"\footnotesize") == len(warnings(toy()))
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


@pytest.mark.skipif(not has_latex(), reason="needs pdflatex with booktabs and multirow")
def test_it_compiles(tmp_path):
    packages = r"\usepackage{booktabs}\usepackage{multirow}"
    document = rf"\documentclass{{article}}{packages}\begin{{document}}" + "\n" + to_latex(toy()) + r"\end{document}"
    (tmp_path / "toy.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "toy.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "toy.pdf").stat().st_size > 1000
