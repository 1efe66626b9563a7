"""Curves of a table: their values by hand, the same bytes twice, styles that differ, no pyplot and no torch."""

import dataclasses
import math
import re
import struct
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from cotune_bench.reports.figures import grid_figures, inline_svg, write_figures
from cotune_bench.reports.figures.base import style
from cotune_bench.reports.figures.rates import Curve, accuracy_curves, draw, gain_curves
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.reports.tables import METHOD_NAMES

METHODS = ("finetune", "cotuning", "my_$own$")
ACCURACIES = {
    ("finetune", 1.0): [80.0, 81.0, 82.0],
    ("finetune", 0.15): [50.0, 51.0, 52.0],
    ("cotuning", 1.0): [85.0, 87.0, 89.0],
    ("cotuning", 0.15): [60.0],
}


def toy(
    accuracies: dict[tuple[str, float], list[float]] | None = None,
    rates: tuple[float, ...] = (1.0, 0.15),
    methods: tuple[str, ...] = METHODS,
    data: tuple[str, ...] = ("digits", "cub"),
) -> Grid:
    rows = [
        {"method": method, "rate": rate, "seed": seed, "accuracy": value, "key": f"{method}-{rate}-{seed}"}
        for (method, rate), values in (ACCURACIES if accuracies is None else accuracies).items()
        for seed, value in enumerate(values)
    ]
    usual = {"data": data[0], "backbone": "glyphnet", "protocol": "desk", "weights": "glyphs", "torch": "2.15.0"}
    runs = pd.DataFrame(rows).assign(**usual, version="0.1.0", finished="2024-05-01T10:00:00+00:00")
    return build_grid(TableSpec("toy", "Toy", data, methods, rates, (0, 1, 2)), runs)


def same(one: Curve, method: str, values: list[float], bars: list[float]) -> bool:
    return (one.method, one.values, one.bars) == (
        method,
        pytest.approx(values, nan_ok=True),
        pytest.approx(bars, nan_ok=True),
    )


def test_accuracy_curves_by_hand():
    curves = accuracy_curves(toy(), "digits")
    assert len(curves) == 2  # the third method has no run
    assert same(curves[0], "finetune", [81.0, 51.0], [1.0, 1.0])
    assert same(curves[1], "cotuning", [87.0, 60.0], [2.0, math.nan])
    assert accuracy_curves(toy(), "cub") == []


def test_gain_curves_by_hand():
    (curve,) = gain_curves(toy(), "digits")
    assert same(curve, "cotuning", [6.0, 10.0], [1.0, math.nan])  # gains 5, 6, 7, and one alone


def test_curves_are_drawn_over_rising_rates_with_their_bars():
    grid = toy()
    axes = draw(grid, accuracy_curves(grid, "digits"), "Accuracy", 5.5).axes[0]
    finetune = axes.containers[0]
    assert list(finetune.lines[0].get_ydata()) == [51.0, 81.0]
    assert finetune.lines[0].get_xdata() == pytest.approx([15, 100], abs=1.0)
    assert list(axes.get_xticks()) == [15, 100]
    bars = [sorted(y for _, y in segment) for segment in finetune.lines[2][0].get_segments()]
    assert bars == [[50.0, 52.0], [80.0, 82.0]]
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["Fine-tune", "Co-Tuning"]
    assert (axes.get_title(), legend.get_title().get_text()) == ("", "mean ± sample std\nover replicates")


@pytest.mark.parametrize(("unit", "contains"), [("replicate", True), ("seed", False)])
def test_captions_name_what_the_bars_are_of(unit, contains, tmp_path):
    grid = toy()
    grid = dataclasses.replace(grid, spec=dataclasses.replace(grid.spec, unit=unit))
    (accuracy, gain), _ = grid_figures(grid, tmp_path)
    for one in (accuracy, gain):
        assert "Mean ± sample std over n = 1 to 3" in one.caption
        assert ("each with its own split" in one.caption) == contains
        assert ("The ± does not contain how much another split" in one.caption) != contains
    assert f"difference in points between a run and that of Fine-tune with the same {unit}" in gain.caption


@pytest.mark.parametrize("name", ["my_$own$", "a_$b", "_private", "a & <b>"])
def test_odd_names_of_methods_are_shown_as_they_are(name, tmp_path):
    runs = {("finetune", 0.15): [50.0], (name, 0.15): [60.0]}
    (figure, _), _ = grid_figures(toy(runs, methods=("finetune", name)), tmp_path)
    figure.figure.draw_without_rendering()
    texts = figure.figure.axes[0].get_legend().get_texts()
    assert [(text.get_text(), text.get_parse_math()) for text in texts] == [("Fine-tune", False), (name, False)]


def test_writing_twice_changes_no_byte_whatever_the_users_settings(tmp_path, monkeypatch):
    import matplotlib

    first = write_figures(grid_figures(toy(), tmp_path)[0], tmp_path / "one")
    assert [path.name for path in first] == [
        f"toy-digits-{kind}.{suffix}" for kind in ("accuracy", "gain") for suffix in ("pdf", "png")
    ]
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "savefig.dpi": 50}):
        second = write_figures(grid_figures(toy(), tmp_path)[0], tmp_path / "two")
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    for path in first:
        content = path.read_bytes()
        assert b"CreationDate" not in content
        if path.suffix == ".png":
            assert struct.unpack(">II", content[16:24]) == (1100, 682)  # 5.5 x 3.4 inches at 200 dpi
        else:
            assert re.search(rb"/BaseFont /[\w+]*DejaVuSans", content)


def test_one_rate_and_one_run_are_drawn(tmp_path):
    grid = toy({("finetune", 0.15): [50.0]}, rates=(0.15,))
    assert [path.name for path in write_figures(grid_figures(grid, tmp_path)[0], tmp_path)] == [
        "toy-digits-accuracy.pdf",
        "toy-digits-accuracy.png",
    ]


def test_every_method_looks_different_without_colour():
    table = (*METHOD_NAMES, "mine", "yours")
    looks = {method: style(method, table) for method in table}
    for one, two in combinations(table, 2):
        assert looks[one]["marker"] != looks[two]["marker"]
    paper = ("finetune", "l2sp", "delta", "bss", "cotuning")
    for key in ("color", "linestyle"):
        assert len({looks[method][key] for method in paper}) == len(paper)
    assert style("bss") == style("bss", ("mine", "bss"))


def test_figures_load_lazily():
    code = "import sys, cotune_bench.reports.build; print({'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_figures_for_a_page_have_ids_of_their_own():
    figures, _ = grid_figures(toy(), Path("nowhere"))
    assert [one.name for one in figures] == ["toy-digits-accuracy", "toy-digits-gain"]
    pages = [inline_svg(one) for one in figures]
    ids = [re.findall(r'\bid="([^"]+)"', page) for page in pages]
    assert not set(ids[0]) & set(ids[1])
    for one, page, found in zip(figures, pages, ids, strict=True):
        assert page.startswith("<svg")
        assert len(set(found)) == len(found)
        used = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
        assert used
        assert set(used) <= set(found)
        assert all(name.startswith(one.name) for name in found)
    assert pages == [inline_svg(one) for one in figures]
