"""Figures of what runs leave in their folders: lines, labels and captions by hand; damaged and missing files."""

import math
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cotune_bench import metrics
from cotune_bench.config import CONF
from cotune_bench.errors import UserError
from cotune_bench.reports.figures import grid_figures, image, write_figures
from cotune_bench.reports.figures.relationship import sources, spaced
from cotune_bench.reports.figures.runs import mean_terms
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.storage import calibration_file, relationship_file

DATA, STEM = "a_b & <c>", "a_b-c"
METRICS = {
    "cotuning-0.5-0": "updates,lr,ce,source,loss\n10,0.1,2,6,8\n20,0.1,1,4,5\n",
    "cotuning-0.5-1": "updates,lr,ce,source,loss\n10,0.1,4,8,12\n20,0.1,3,2,5\n30,0.1,3,2,5\n40,0.",
    "_mine-0.5-0": "updates,lr,ce,loss\n10,0.1,5,5\n20,0.1,7,7\n",
}


def toy(methods: tuple[str, ...] = ("cotuning", "_mine"), rates: tuple[float, ...] = (0.5, 1.0)) -> Grid:
    """Two equal seeds of every method at every rate."""
    rows = [
        {"method": method, "rate": rate, "seed": seed, "accuracy": 50.0, "key": f"{method}-{rate}-{seed}"}
        for method in methods
        for rate in rates
        for seed in (0, 1)
    ]
    usual = {"data": DATA, "backbone": "glyphnet", "protocol": "desk", "weights": "glyphs", "torch": "2.15.0"}
    runs = pd.DataFrame(rows).assign(**usual, version="0.1.0", finished="2024-05-01T10:00:00+00:00")
    return build_grid(TableSpec("toy", "Toy", (DATA,), methods, rates, (0, 1)), runs)


def leave(results: Path, key: str, name: str, text: str) -> None:
    path = results / "runs" / key / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def results(tmp_path) -> Path:
    """A results folder in which runs left everything."""
    for key, text in METRICS.items():
        leave(tmp_path, key, "metrics.csv", text)
    relationship = [[0.6, 0.4, 0.0], [0.05, 0.0, 0.95]]
    leave(
        tmp_path,
        "cotuning-0.5-0",
        relationship_file.FILE,
        relationship_file.to_csv(relationship, ("elephant", "$x$"), ("tusker", "_b", "c")),
    )
    probabilities = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]
    states = {"before": metrics.reliability(probabilities, [0, 1, 1, 0], 1.0)}
    states["after"] = metrics.reliability(np.array(probabilities) ** 0, [0, 1, 1, 0], 5.0)
    leave(tmp_path, "cotuning-0.5-1", calibration_file.FILE, calibration_file.to_csv(states))
    return tmp_path


def drawn(grid: Grid, results: Path) -> dict:
    figures, _ = grid_figures(grid, results)
    return {one.name.removeprefix(f"toy-{STEM}-"): one for one in figures}


def test_terms_are_means_over_the_updates_that_all_runs_reported(results):
    terms, runs = mean_terms(toy().cell(DATA, "cotuning", 0.5), results)
    assert runs == 2
    assert terms == {"ce": {10: 3.0, 20: 2.0}, "source": {10: 7.0, 20: 3.0}}  # a torn last line is no row


def test_training_curves(results):
    named = drawn(toy(), results)["training"]
    upper, lower = named.figure.subfigs
    (above,), (below,) = upper.axes, lower.axes  # one rate has metrics
    assert [line.get_xydata().tolist() for line in above.lines] == [[[10, 3], [20, 2]], [[10, 5], [20, 7]]]
    assert [line.get_xydata().tolist() for line in below.lines] == [[[10, 7], [20, 3]]]
    assert [text.get_text() for text in upper.legends[0].get_texts()] == ["Co-Tuning", "_mine"]
    assert [text.get_text() for text in lower.legends[0].get_texts()] == ["Co-Tuning: source"]
    assert "over the 1 to 2 runs" in named.caption


@pytest.mark.parametrize(("last", "scale"), [("7", "linear"), ("70", "log")])  # the others are 2 to 5
def test_the_loss_is_logarithmic_where_it_spans_a_power_of_ten_and_has_numbers(results, last, scale):
    leave(results, "_mine-0.5-0", "metrics.csv", f"updates,lr,ce,loss\n10,0.1,5,5\n20,0.1,{last},{last}\n")
    named = drawn(toy(), results)["training"]
    above = named.figure.subfigs[0].axes[0]
    assert above.get_yscale() == scale
    named.figure.draw_without_rendering()
    low, high = above.get_ylim()
    shown = [text.get_text() for text in above.get_yticklabels() if low <= text.get_position()[1] <= high]
    assert any(shown)
    assert all("$" not in text for text in shown)


def test_relationship_as_colours_and_in_words(results):
    named = drawn(toy(), results)["cotuning-relationship"]
    assert named.rows == (
        ("Target class", "Source classes"),
        ("elephant", "60 % tusker + 40 % _b"),
        ("$x$", "95 % c + 5 % tusker"),
    )
    axes, bar = named.figure.axes
    np.testing.assert_allclose(axes.images[0].get_array(), [[60, 40, 0], [5, 0, 95]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["tusker", "_b", "c"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["elephant", "$x$"]
    assert bar.get_ylabel() == "Share (%)"
    assert "rate of 50 %" in named.caption  # the largest rate whose runs left it


def test_many_classes_are_thinned_out():
    assert spaced([str(number) for number in range(200)], 3) == ["0", "100", "199"]
    assert spaced(["a", "b"], 20) == ["a", "b"]
    told = {
        str(row): [relationship_file.Share(row * 5 + rank, "s", 30.0 - rank) for rank in range(5)]
        for row in range(20)
    }
    assert [share.number for share in sources(told)][:4] == [0, 1, 5, 6]
    assert len(sources(told)) == 40


def test_calibration_before_and_after(results):
    named = drawn(toy(), results)["cotuning-calibration"]
    above, below = named.figure.axes
    diagonal, before, after = above.lines
    # bins (0.5, 0.6], (0.6, 0.7], (0.7, 0.8], (0.8, 0.9] of one image each; then one bin of certain answers, class 0
    np.testing.assert_allclose(before.get_xydata(), [[60, 100], [70, 100], [80, 0], [90, 100]], atol=1e-9)
    np.testing.assert_allclose(after.get_xydata(), [[100, 50]])
    assert [bar.get_height() for bar in below.patches] == [1, 1, 1, 1, 4]
    assert {bar.get_hatch() for bar in below.patches} == {"////", ""}
    (legend,) = named.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["before, ECE 40.0 %", "after, ECE 50.0 %"]
    assert named.rows[1:] == (("before", "1", "40.0"), ("after", "5", "50.0"))
    assert diagonal.get_xydata().tolist() == [[0, 0], [100, 100]]


def test_what_is_missing_or_damaged_is_told(results):
    for key in ("cotuning-0.5-0", "cotuning-0.5-1", "_mine-0.5-0"):
        leave(results, key, "metrics.csv", "updates,lr,ce,loss\n10,0.1\n")
        leave(results, key, relationship_file.FILE, "")
        leave(results, key, calibration_file.FILE, "state,temperature\nbefore,1\n")
    figures, left_out = grid_figures(toy(), results)
    assert [one.name for one in figures] == [f"toy-{STEM}-accuracy"]
    assert left_out == [
        f"No gain on {DATA}: no method has a run with the replicate and rate of one of finetune's.",
        "Ranks need runs of at least 3 methods: 2 found.",
        f"No training curves of {DATA}: no folder of these runs holds a metrics.csv.",
        f"No category relationship of {DATA}: no folder of these runs holds a relationship.csv.",
        f"No calibration of {DATA}: no folder of these runs holds a calibration.csv.",
    ]


def test_no_run_no_figure(tmp_path):
    grid = build_grid(TableSpec("toy", "Toy", (DATA,), ("bss",), (0.5,), (0,)), pd.DataFrame())
    assert grid_figures(grid, tmp_path) == ([], ["No figures: no run has finished yet."])


def test_one_method_one_rate_equal_seeds(results):
    (figure, *_), _ = grid_figures(toy(("finetune",), (0.5,)), results)
    (container,) = figure.figure.axes[0].containers
    (bar,) = container.lines[2][0].get_segments()
    assert bar[:, 1].tolist() == [50.0, 50.0]
    assert not math.isnan(figure.figure.axes[0].get_ylim()[0])
    assert image(figure.figure, "png").startswith(b"\x89PNG")


def test_files_are_the_same_twice_and_hold_the_rows(results):
    one, two = (write_figures(grid_figures(toy(), results)[0], results / name) for name in ("one", "two"))
    assert {path.suffix for path in one} == {".pdf", ".png", ".md"}
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()
    told = (results / "one" / f"toy-{STEM}-cotuning-relationship.md").read_text()
    assert "| elephant     | 60 % tusker + 40 % _b |\n" in told


def test_readme_gets_the_pieces_it_asks_for(tmp_path, results):
    update = runpy.run_path(str(CONF.parent / "scripts" / "update_readme.py"))["main"]
    update.__globals__["table_grid"] = lambda name, overrides: (toy(), results, [])
    readme = tmp_path / "README.md"
    asked = f"<!-- figure:toy toy-{STEM}-accuracy -->"
    readme.write_text(f"a\n<!-- grid:toy -->\nstale\n<!-- end -->\nb\n{asked}\n<!-- end -->\nc\n")
    for _ in range(2):
        assert update([], [readme]) == 0
        text = readme.read_text()
        assert text.startswith("a\n<!-- grid:toy -->\nMean ± ")
        assert f"b\n{asked}\n![Accuracy on a_b & \\<c> over" in text
        assert text.endswith(f"(docs/images/toy-{STEM}-accuracy.svg)\n<!-- end -->\nc\n")
        assert "stale" not in text
    picture = (tmp_path / "docs" / "images" / f"toy-{STEM}-accuracy.svg").read_bytes()
    assert picture == image(grid_figures(toy(), results)[0][0].figure, "svg")
    assert b"<dc:date>" not in picture


def test_readme_that_asks_for_an_unknown_figure_stays_as_it_is(tmp_path, results):
    update = runpy.run_path(str(CONF.parent / "scripts" / "update_readme.py"))["main"]
    update.__globals__["table_grid"] = lambda name, overrides: (toy(), results, [])
    readme = tmp_path / "README.md"
    readme.write_text("<!-- figure:toy typo -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="table toy has no figure typo: choose toy-"):
        update([], [readme])
    assert readme.read_text() == "<!-- figure:toy typo -->\n<!-- end -->\n"
    assert not (tmp_path / "docs").exists()
