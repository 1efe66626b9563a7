"""Figures of a table: lines, labels and captions by hand; damaged and missing files; the same bytes twice."""

import runpy
import struct
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from cotune_bench import metrics
from cotune_bench.config import CONF
from cotune_bench.errors import UserError
from cotune_bench.reports.figures import NamedFigure, grid_figures, image, write_figures
from cotune_bench.reports.figures.pareto import front, pareto_figures, points_of
from cotune_bench.reports.figures.relationship import largest_shares
from cotune_bench.reports.figures.routing import GATES, GATES_BY_CLASS, by_stage_of
from cotune_bench.reports.grid import Grid, TableSpec, build_grid
from cotune_bench.storage import calibration_file, relationship_file
from cotune_bench.storage.relationship_file import Share

DATA, STEM = "a_b & <c>", "a_b-c"
OWN = "my_$own$"
ACCURACIES = {
    ("cotuning", 1.0): [80.0, 81.0, 82.0],
    ("cotuning", 0.5): [50.0, 51.0, 52.0],
    (OWN, 1.0): [85.0, 87.0, 89.0],
    (OWN, 0.5): [60.0],
}
METRICS = {
    "cotuning-0.5-0": "updates,lr,ce,source,loss\n10,0.1,2,6,8\n20,0.1,1,4,5\n",
    "cotuning-0.5-1": "updates,lr,ce,source,loss\n10,0.1,4,8,12\n20,0.1,3,2,5\n30,0.1,3,2,5\n40,0.",
    f"{OWN}-0.5-0": "updates,lr,ce,loss\n10,0.1,5,5\n20,0.1,7,7\n",
}


def toy() -> Grid:
    """Two methods and one without runs at two rates, on a data set with runs and one without."""
    rows = [
        {"method": method, "rate": rate, "seed": seed, "accuracy": value, "key": f"{method}-{rate}-{seed}"}
        for (method, rate), values in ACCURACIES.items()
        for seed, value in enumerate(values)
    ]
    usual = {"data": DATA, "backbone": "glyphnet", "protocol": "desk", "weights": "glyphs", "torch": "2.15.0"}
    runs = pd.DataFrame(rows).assign(**usual, version="0.1.0", finished="2024-05-01T10:00:00+00:00")
    methods = ("cotuning", OWN, "bss")
    return build_grid(TableSpec("toy", "Toy", (DATA, "cub"), methods, (1.0, 0.5), (0, 1, 2)), runs)


def put(results: Path, key: str, name: str, text: str) -> None:
    path = results / "runs" / key / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def results(tmp_path) -> Path:
    """A results folder whose runs have all files."""
    for key, text in METRICS.items():
        put(tmp_path, key, "metrics.csv", text)
    relationship = [[0.6, 0.4, 0.0], [0.05, 0.0, 0.95]]
    text = relationship_file.to_csv(relationship, ("elephant", "$x$"), ("tusker", "_b", "c"))
    put(tmp_path, "cotuning-0.5-0", relationship_file.FILE, text)
    probabilities = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]
    states = {"before": metrics.reliability(probabilities, [0, 1, 1, 0], 1.0)}
    states["after"] = metrics.reliability(np.array(probabilities) ** 0, [0, 1, 1, 0], 5.0)
    put(tmp_path, "cotuning-0.5-1", calibration_file.FILE, calibration_file.to_csv(states))
    return tmp_path


def drawn(results: Path) -> dict[str, NamedFigure]:
    figures, _ = grid_figures(toy(), results)
    return {one.name.removeprefix(f"toy-{STEM}-"): one for one in figures}


def legend(named: NamedFigure) -> list[str]:
    return [text.get_text() for text in named.figure.legends[0].get_texts()]


def test_accuracy_over_rising_rates_with_error_bars(tmp_path):
    named = drawn(tmp_path)["accuracy"]
    (axes,) = named.figure.axes
    assert legend(named) == ["Co-Tuning", OWN]  # the third method has no run
    assert named.figure.legends[0].get_title().get_text() == "mean ± sample std\nover replicates"
    assert [list(one.lines[0].get_ydata()) for one in axes.containers] == [[51, 81], [60, 87]]
    assert axes.containers[0].lines[0].get_xdata() == pytest.approx([50, 100], abs=1)
    bars = [sorted(y for _, y in bar) for one in axes.containers for bar in one.lines[2][0].get_segments()]
    assert [bar for bar in bars if bar] == [[50, 52], [80, 82], [85, 89]]
    assert "Mean ± sample std over n = 1 to 3" in named.caption


def test_training_curves_are_means_at_the_updates_that_all_runs_reported(results):
    named = drawn(results)["training"]
    above, below = named.figure.axes  # one rate has metrics
    assert [line.get_xydata().tolist() for line in above.lines] == [[[10, 3], [20, 2]], [[10, 5], [20, 7]]]
    assert [line.get_xydata().tolist() for line in below.lines] == [[[10, 7], [20, 3]]]  # without the torn line
    assert legend(named) == ["Co-Tuning", OWN, "Co-Tuning: source"]
    assert "over the 1 to 2 runs" in named.caption


def test_relationship_as_colours_and_in_words(results):
    named = drawn(results)["cotuning-relationship"]
    assert named.rows == (
        ("Target class", "Source classes"),
        ("elephant", "60 % tusker + 40 % _b"),
        ("$x$", "95 % c + 5 % tusker"),
    )
    axes, _ = named.figure.axes
    np.testing.assert_allclose(axes.images[0].get_array(), [[60, 40, 0], [5, 0, 95]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["tusker", "_b", "c"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["elephant", "$x$"]
    assert "rate of 50 %" in named.caption  # the largest rate whose runs have it


def test_a_heat_map_of_many_classes_is_thinned_out():
    shares = {
        str(row): [Share(row * 5 + rank, f"s{row}.{rank}", 30.0 - rank) for rank in range(5)] for row in range(39)
    }
    table = largest_shares(shares)
    assert table.shape == (20, 40)  # the two largest source classes of every second target class
    assert list(table.index[[0, 1, -1]]) == ["0", "2", "38"]
    assert list(table.columns[:4]) == ["s0.0", "s0.1", "s2.0", "s2.1"]


def test_calibration_before_and_after(results):
    named = drawn(results)["cotuning-calibration"]
    above, below = named.figure.axes
    _, before, after = above.lines
    # bins (0.5, 0.6], (0.6, 0.7], (0.7, 0.8], (0.8, 0.9] of one image each; then one bin of certain answers, class 0
    np.testing.assert_allclose(before.get_xydata(), [[60, 100], [70, 100], [80, 0], [90, 100]], atol=1e-9)
    np.testing.assert_allclose(after.get_xydata(), [[100, 50]])
    assert [bar.get_height() for bar in below.patches] == [1, 1, 1, 1, 4]
    assert legend(named) == ["before, ECE 40.0 %", "after, ECE 50.0 %"]
    assert named.rows[1:] == (("before", "1", "40.0"), ("after", "5", "50.0"))


def test_gates_by_stage_are_means_of_their_layers(results):
    assert not any("gates" in name for name in drawn(results))
    text = "layer,backbone,moco\nconv1,0.5,0.1\nlayer1.0.conv1,0.2,0.4\nlayer1.0.conv2,0.4,0.8\n"
    put(results, "cotuning-0.5-1", GATES, text)
    put(results, "cotuning-0.5-1", GATES_BY_CLASS, "class,backbone,moco\n0,0.5,0.25\n1,0.1,0.75\n")
    stages = by_stage_of(text)
    assert list(stages.index) == ["conv1", "layer1", "all layers"]
    np.testing.assert_allclose(stages, [[50, 10], [30, 60], [110 / 3, 130 / 3]])
    found = drawn(results)
    named = found["cotuning-gates"]
    assert named.rows[:2] == (("Stage", "backbone", "moco"), ("conv1", "50.0", "10.0"))
    np.testing.assert_allclose(named.figure.axes[0].images[0].get_array(), stages)
    classes = found["cotuning-gates-classes"].figure.axes[0]
    np.testing.assert_allclose(classes.images[0].get_array(), [[50, 25], [10, 75]])
    assert [label.get_text() for label in classes.get_xticklabels()] == ["backbone", "moco"]


def test_the_front_has_the_methods_that_no_other_beats():
    points = {
        "slow": (9.0, 90.0),
        "worse": (10.0, 89.0),
        "fast": (1.0, 70.0),
        "weak": (9.0, 80.0),
        "twin": (9.0, 90.0),
    }
    assert front(points) == ["slow", "fast", "twin"]


def test_accuracy_against_seconds_marks_the_front():
    seconds = {"cotuning": [2, 4, 9], OWN: [30, 10, 20]}
    runs = pd.DataFrame([{**vars(run), "seed": run.unit} for run in toy().runs()])
    runs["seconds"] = [float(seconds[method][seed]) for method, seed in zip(runs.method, runs.seed, strict=True)]
    runs = runs.assign(finished="2024-05-01T10:00:00+00:00")
    two = build_grid(toy().spec, runs)
    assert points_of(two, DATA) == {"cotuning": (4.0, 81.0), OWN: (20.0, 87.0)}
    assert pareto_figures(two) == []
    third = runs[runs.method == "cotuning"].assign(method="bss", accuracy=60.0)
    (named,) = pareto_figures(build_grid(two.spec, pd.concat([runs, third])))
    assert named.name == f"toy-{STEM}-pareto"
    assert named.rows[1:] == (
        ("BSS", "4.0", "60.00", ""),
        ("Co-Tuning", "4.0", "81.00", "yes"),
        (OWN, "20.0", "87.00", "yes"),
    )
    (axes,) = named.figure.axes
    line, *marks = axes.lines
    assert line.get_xydata().tolist() == [[4, 81], [20, 87]]
    assert {mark.get_label(): mark.get_fillstyle() for mark in marks} == {
        "Co-Tuning": "full", OWN: "full", "BSS": "none",
    }  # fmt: skip


def test_missing_and_damaged_files_leave_a_sentence(results):
    for key in METRICS:
        put(results, key, "metrics.csv", "updates,lr,ce,loss\n10,0.1\n")
        put(results, key, relationship_file.FILE, "")
        put(results, key, calibration_file.FILE, "state,temperature\nbefore,1\n")
    figures, left_out = grid_figures(toy(), results)
    assert [one.name for one in figures] == [f"toy-{STEM}-accuracy"]
    assert left_out == [
        "Ranks need runs of at least 3 methods: 2 found.",
        f"No training curves of {DATA}: no folder of these runs holds a metrics.csv.",
        f"No category relationship of {DATA}: no folder of these runs holds a relationship.csv.",
        f"No calibration of {DATA}: no folder of these runs holds a calibration.csv.",
    ]
    empty = build_grid(TableSpec("toy", "Toy", (DATA,), ("bss",), (0.5,), (0,)), pd.DataFrame())
    assert grid_figures(empty, results) == ([], ["No figures: no run has finished yet."])


def test_files_are_the_same_twice_whatever_the_users_settings(results):
    def written(place: str) -> list[Path]:
        wanted = ("accuracy", "relationship")
        return write_figures(
            [one for one in grid_figures(toy(), results)[0] if one.name.endswith(wanted)], results / place
        )

    one = written("one")
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "savefig.dpi": 50}):
        two = written("two")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    found = {path.name.removeprefix(f"toy-{STEM}-"): path.read_bytes() for path in one}
    assert {name.partition(".")[2] for name in found} == {"pdf", "png", "md"}
    assert struct.unpack(">II", found["accuracy.png"][16:24]) == (1100, 682)  # 5.5 x 3.4 inches at 200 dpi
    assert "| elephant     | 60 % tusker + 40 % _b |\n" in found["cotuning-relationship.md"].decode()


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
    other = text.replace("Mean ± ", "older ± ")
    readme.write_text(other)
    assert update(["table=another"], [readme]) == 0
    assert readme.read_text() == other
    readme.write_text("<!-- figure:toy typo -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="table toy has no figure typo: choose toy-"):
        update([], [readme])
    assert readme.read_text() == "<!-- figure:toy typo -->\n<!-- end -->\n"
