"""Tables from runs: numbers by hand, rules, and golden files compared byte by byte.

After a wanted change of the output: COTUNE_UPDATE_GOLDEN=1 pytest tests/test_grid.py, then read the diff.
"""

import csv
import dataclasses
import io
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from cotune_bench.errors import UserError
from cotune_bench.reports.captions import caption, warnings
from cotune_bench.reports.grid import Grid, TableSpec, build_grid, spread
from cotune_bench.reports.tables import cell_text, print_grid, to_csv, to_markdown, write_tables

GOLDEN = Path(__file__).parent / "golden"
TOY = TableSpec(
    name="grid_toy",
    title="Toy | *two* data sets",
    data=("digits", "cub"),
    methods=("finetune", "bss", "cotuning"),
    rates=(0.15, 1.0),
    units=(0, 1, 2),
    baselines=("my|own*",),
)
SMALL = TableSpec("small", "Small", ("digits",), ("finetune", "bss"), (0.15,), (0, 1, 2))


def toy_runs() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "grid_runs.csv")


def runs_of(*rows: tuple[str, int, float], **columns: object) -> pd.DataFrame:
    """Runs of SMALL from (method, seed, accuracy)."""
    usual = {
        "data": "digits",
        "backbone": "glyphnet",
        "protocol": "desk",
        "rate": 0.15,
        "val_accuracy": math.nan,
        "weights": "glyphs",
        "version": "0.1.0",
        "torch": "2.15.0",
        "finished": "2024-05-01T10:00:00+00:00",
    }
    frame = pd.DataFrame(rows, columns=["method", "seed", "accuracy"])
    frame["key"] = [f"run{i}" for i in range(len(rows))]
    return frame.assign(**(usual | columns))


def printed(grid: Grid, *, terminal: bool, width: int = 100) -> str:
    file = io.StringIO()
    color = "standard" if terminal else None
    print_grid(grid, Console(file=file, width=width, force_terminal=terminal, color_system=color))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def plain(grid: Grid) -> str:
    return printed(grid, terminal=False)


@pytest.mark.parametrize(
    ("name", "write"), [("grid_toy.md", to_markdown), ("grid_toy.csv", to_csv), ("grid_toy.txt", plain)]
)
def test_output_equals_the_golden_file(name, write):
    content = write(build_grid(TOY, toy_runs())).encode()
    if os.environ.get("COTUNE_UPDATE_GOLDEN") == "1":
        (GOLDEN / name).write_bytes(content)
    assert content == (GOLDEN / name).read_bytes(), (
        "if this is wanted: COTUNE_UPDATE_GOLDEN=1 pytest tests/test_grid.py"
    )


def test_spread_by_hand():
    values = (2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0)  # mean 5, squared deviations sum to 32
    assert spread(values, "population") == 2.0
    assert spread(values, "sample") == pytest.approx(math.sqrt(32 / 7), rel=1e-15)
    assert spread(values, "standard_error") == pytest.approx(math.sqrt(32 / 7 / 8), rel=1e-15)


@pytest.mark.parametrize("kind", ["sample", "population", "standard_error"])
def test_spread_agrees_with_numpy_and_needs_two_values(kind):
    values = np.random.default_rng(0).uniform(20, 90, 5)
    expected = {
        "sample": values.std(ddof=1),
        "population": values.std(ddof=0),
        "standard_error": values.std(ddof=1) / np.sqrt(5),
    }
    assert spread(values.tolist(), kind) == pytest.approx(expected[kind], rel=1e-12)
    assert spread([71.0], kind) is None


@pytest.mark.parametrize(
    ("std", "text", "words"),
    [
        ("sample", "61.00 ± 1.00", "Mean ± sample std"),
        ("population", "61.00 ± 0.82", "Mean ± population std"),
        ("standard_error", "61.00 ± 0.58", "Mean ± standard error"),
    ],
)
def test_std_modes_reach_cell_caption_and_csv(std, text, words):
    runs = runs_of(("finetune", 0, 60.0), ("finetune", 1, 61.0), ("finetune", 2, 62.0))
    grid = build_grid(dataclasses.replace(SMALL, std=std), runs)
    assert cell_text(grid.cell("digits", "finetune", 0.15), best="{}") == text
    assert caption(grid).startswith(f"{words} over n = 3 replicates (each with ")
    table = pd.read_csv(io.StringIO(to_csv(grid)))
    assert table["standard_error" if std == "standard_error" else "std"][0] == grid.cells[0].spread


def test_cells_by_hand_in_order_addressable_and_immutable():
    grid = build_grid(TOY, toy_runs())
    places = [(cell.data, cell.method, cell.rate) for cell in grid.cells]
    assert places == [(d, m, r) for d in TOY.data for m in TOY.rows for r in TOY.rates]
    cell = grid.cell("digits", "cotuning", 1.0)
    assert cell.values == ((0, 96.0), (1, 96.2), (2, 96.16))
    assert cell.mean == pytest.approx(96.12, abs=1e-12)
    assert cell.spread == pytest.approx(math.sqrt(0.0112), abs=1e-12)  # (0.12^2 + 0.08^2 + 0.04^2) / 2
    assert grid.row("digits", "cotuning")[1] is cell
    with pytest.raises(KeyError, match=r"no cell \(digits, delta, 1.0\)"):
        grid.cell("digits", "delta", 1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cell.mean = 100.0
    assert hash(grid) == hash(build_grid(TOY, toy_runs()))


def test_the_order_of_rows_does_not_matter():
    runs = toy_runs()
    for seed in range(5):
        assert build_grid(TOY, runs.sample(frac=1, random_state=seed)) == build_grid(TOY, runs)


def test_equal_seeds_spread_exactly_zero():
    assert np.std([60.2] * 3, ddof=1) != 0  # what rounded sums would show
    cell = build_grid(SMALL, runs_of(*(("bss", seed, 60.2) for seed in (0, 1, 2)))).cell("digits", "bss", 0.15)
    assert (cell.mean, cell.spread) == (60.2, 0.0)


def test_best_goes_by_the_shown_digits():
    def best(bss: float) -> list[bool]:
        runs = runs_of(("finetune", 0, 70.001), ("bss", 0, bss))
        return [cell.best for cell in build_grid(SMALL, runs).cells]

    assert best(70.004) == [True, True]
    assert best(70.006) == [False, True]
    assert best(69.994) == [True, False]


def test_nothing_is_best_in_an_empty_column_and_zero_can_be():
    assert not any(cell.best for cell in build_grid(SMALL, pd.DataFrame()).cells)
    cells = build_grid(SMALL, runs_of(("bss", 0, 0.0))).cells
    assert [cell.best for cell in cells] == [False, True]


def test_a_baseline_is_shown_below_the_others_and_never_the_best():
    spec = dataclasses.replace(SMALL, methods=("finetune",), baselines=("bss",))
    grid = build_grid(spec, runs_of(("finetune", 0, 60.0), ("bss", 0, 70.0)))
    assert spec.rows == ("finetune", "bss")
    assert [(cell.method, cell.mean, cell.best) for cell in grid.cells] == [
        ("finetune", 60.0, True),
        ("bss", 70.0, False),
    ]
    markdown, piped = to_markdown(grid, ["One.", "Two."]), plain(grid)
    assert "*BSS*" in markdown
    assert "Rows in italics are baselines" in markdown
    assert markdown.index("| *BSS*") < markdown.index("One.\n\nTwo.") < markdown.index("Warnings:")
    rows = piped[piped.index("digits\n") :].splitlines()
    assert ["Fine-tune" in rows[1], set(rows[2]), "BSS" in rows[3]] == [True, {"─"}, True]
    assert "Rows below the line are baselines" in " ".join(piped.split())


def test_a_run_of_a_table_knows_its_unit_and_what_it_recorded():
    more = {"weights_sha256": "ab", "test_sha256": "cd", "correct": "m4A=", "train_images": 7, "test_images": 9}
    (run,) = build_grid(SMALL, runs_of(("bss", 2, 70.0)).assign(**more, instructions="AVX2")).runs()
    assert (run.unit, run.seed, run.instructions) == (2, 2, "AVX2")
    assert {name: getattr(run, name) for name in more} == more
    (bare,) = build_grid(SMALL, runs_of(("bss", 2, 70.0))).runs()
    assert (bare.correct, bare.weights_sha256, bare.instructions, bare.test_images) == ("", "", "", 0)


def test_newest_counts_by_moment_not_by_text_or_place():
    runs = runs_of(("finetune", 0, 60.0), ("finetune", 0, 70.0), ("finetune", 0, 80.0))
    runs["finished"] = ["2024-05-01T10:00:00+00:00", "2024-05-01T09:30:00-04:00", "2024-05-01T11:00:00"]
    cell = build_grid(SMALL, runs).cell("digits", "finetune", 0.15)
    assert cell.values == ((0, 70.0),)  # 13:30 in UTC


def test_a_replaced_run_leaves_no_trace():
    runs = runs_of(("finetune", 0, 60.0), ("finetune", 0, 70.0))
    runs["finished"] = ["2024-05-02T00:00:00", "2024-05-01T00:00:00"]
    runs["torch"], runs["protocol"] = ["2.15.0", "2.11.0"], ["desk", "center"]
    grid = build_grid(SMALL, runs)
    assert grid.names("protocol", "digits") == ("desk",)
    assert warnings(grid) == ["Runs missing: 5 of 6, in 2 of 2 cells."]


def test_a_complete_table_of_like_runs_has_no_warnings():
    rows = [(method, seed, 50.0 + seed) for method in SMALL.methods for seed in SMALL.units]
    grid = build_grid(SMALL, runs_of(*rows))
    assert warnings(grid) == []
    assert "Warnings" not in to_markdown(grid)


def test_versions_read_as_numbers_are_still_named():
    runs = runs_of(("finetune", 0, 60.0), ("bss", 0, 60.0))
    runs["torch"] = [2.11, 2.15]
    assert "Mixed torch versions: 2.11 in 1 run, 2.15 in 1 run." in warnings(build_grid(SMALL, runs))


@pytest.mark.parametrize(
    ("accuracies", "text"),
    [
        ((), "– (0/3)"),
        ((50.0,), "**50.00** (1/3)"),
        ((50.0, 52.0), "**51.00 ± 1.41** (2/3)"),
        ((50.0, 51.0, 52.0), "**51.00 ± 1.00**"),
    ],
)
def test_cell_text_tells_missing_runs(accuracies, text):
    runs = runs_of(*(("finetune", seed, accuracy) for seed, accuracy in enumerate(accuracies)))
    assert cell_text(build_grid(SMALL, runs).cells[0]) == text


def test_one_seed_shows_no_spread():
    one = dataclasses.replace(SMALL, units=(0,))
    grid = build_grid(one, runs_of(("finetune", 0, 60.0), ("bss", 0, 61.0)))
    assert "±" not in to_markdown(grid)
    assert caption(grid).startswith("One run, n = 1 replicate, top-1 test accuracy in percent. Highest")
    assert ",60.0,,false\n" in to_csv(grid)


def test_markdown_lines_up_and_keeps_its_columns():
    lines = [line for line in to_markdown(build_grid(TOY, toy_runs())).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 2 * 4
    assert len({len(line) for line in lines}) == 1
    assert all(line.replace(r"\|", "").count("|") == 5 for line in lines)
    assert r"| *my\|own\** |" in lines[5]


def test_csv_keeps_every_bit():
    grid = build_grid(TOY, toy_runs())
    for cell, row in zip(grid.cells, csv.DictReader(io.StringIO(to_csv(grid))), strict=True):
        assert (row["table"], row["method"], row["n"]) == ("grid_toy", cell.method, str(cell.n))
        assert row["best"] == ("true" if cell.best else "false")
        assert (float(row["mean"]) if row["mean"] else None) == cell.mean
        assert (float(row["std"]) if row["std"] else None) == cell.spread


def test_writing_twice_changes_no_byte(tmp_path):
    paths = write_tables(build_grid(TOY, toy_runs()), tmp_path / "tables")
    assert [path.name for path in paths] == ["grid_toy.md", "grid_toy.csv"]
    first = [path.read_bytes() for path in paths]
    assert write_tables(build_grid(TOY, toy_runs()), tmp_path / "tables") == paths
    assert [path.read_bytes() for path in paths] == first
    assert sorted((tmp_path / "tables").iterdir()) == sorted(paths)


def test_terminal_shows_best_in_bold_and_a_pipe_by_a_star():
    grid = build_grid(TOY, toy_runs())
    shown, piped = printed(grid, terminal=True), printed(grid, terminal=False)
    assert "96.12 ± 0.11\x1b[0m" in shown.partition("\x1b[1;32m")[2]
    assert "*70.10" not in shown
    assert "*96.12 ± 0.11" in piped
    assert "\x1b" not in piped


def test_terminal_table_of_four_rates_fits_100_columns_unbroken():
    wide = TableSpec("wide", "Wide", ("digits",), ("finetune", "cotuning"), (0.15, 0.3, 0.5, 1.0), (0, 1, 2))
    frames = [runs_of(("cotuning", 0, 70.0), ("cotuning", 1, 99.0), rate=rate) for rate in wide.rates]
    lines = printed(build_grid(wide, pd.concat(frames)), terminal=False).splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.count("*84.50 ± 20.51 (2/3)") == 4 for line in lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "delta"}, r"run run0 \(digits, delta, rate 0.15, replicate 0\) is not part of table small"),
        ({"rate": 0.3}, "rate 0.3, replicate 0"),
        ({"seed": 7}, "replicate 7"),
        ({"accuracy": math.nan}, "run run0 has no accuracy: delete its record"),
        ({"accuracy": 101.0}, "run0: accuracy 101.0 is no percentage"),
        ({"accuracy": "high"}, "run0: could not convert string to float"),
        ({"finished": "yesterday"}, "run0: Invalid isoformat string: 'yesterday'"),
        ({"weights": ""}, "run run0 has no weights"),
    ],
)
def test_a_bad_run_is_named(change, message):
    with pytest.raises(UserError, match=message):
        build_grid(SMALL, runs_of(("finetune", 0, 60.0)).assign(**change))


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match="runs of table small lack weights, torch: rebuild"):
        build_grid(SMALL, runs_of(("finetune", 0, 60.0)).drop(columns=["torch", "weights"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": "ddof1"}, "std='ddof1' is unknown: choose sample, population, standard_error"),
        ({"units": ()}, r"units \(\) must be at least one"),
        ({"unit": "run"}, "unit='run' is unknown: choose replicate, seed"),
        ({"baselines": ("bss",)}, "none twice"),
        ({"methods": ("bss", "bss")}, "none twice"),
        ({"name": "a/b"}, "'a/b' names files"),
    ],
)
def test_a_bad_spec_is_named(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SMALL, **change)


def test_reports_load_without_the_heavy_libraries():
    code = "import sys, cotune_bench.reports.tables; print({'torch', 'hydra', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
