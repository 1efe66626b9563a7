"""Tables from runs: numbers by hand and rules; the files byte by byte are in test_golden.py."""

import dataclasses
import io
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from toy import GOLDEN, GRID, like_runs, piped

from cotune_bench.errors import UserError
from cotune_bench.reports.captions import caption, warnings
from cotune_bench.reports.grid import Grid, TableSpec, build_grid, spread
from cotune_bench.reports.tables import cell_text, print_grid, to_csv, to_markdown

SMALL = TableSpec("small", "Small", ("digits",), ("finetune", "bss"), (0.15,), (0, 1, 2))


def toy() -> Grid:
    return build_grid(GRID, pd.read_csv(GOLDEN / "grid_runs.csv"))


def runs_of(*rows: tuple[str, int, float], **columns: object) -> pd.DataFrame:
    """Runs of SMALL from (method, seed, accuracy)."""
    return like_runs((dict(zip(("method", "seed", "accuracy"), row, strict=True)) for row in rows), **columns)


@pytest.mark.parametrize(
    ("std", "wanted", "text"),
    [
        ("sample", math.sqrt(32 / 7), "61.00 ± 1.00"),
        ("population", 2.0, "61.00 ± 0.82"),
        ("standard_error", math.sqrt(32 / 7 / 8), "61.00 ± 0.58"),
    ],
)
def test_a_worked_spread_reaches_cell_caption_and_csv(std, wanted, text):
    values = (2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0)  # mean 5, squared deviations sum to 32
    assert spread(values, std) == pytest.approx(wanted, rel=1e-15)
    assert spread([71.0], std) is None
    runs = runs_of(("finetune", 0, 60.0), ("finetune", 1, 61.0), ("finetune", 2, 62.0))
    grid = build_grid(dataclasses.replace(SMALL, std=std), runs)
    assert cell_text(grid.cell("digits", "finetune", 0.15), best="{}") == text
    words = std.replace("_", " ") if std == "standard_error" else f"{std} std"
    assert caption(grid).startswith(f"Mean ± {words} over n = 3 replicates (each with ")
    table = pd.read_csv(io.StringIO(to_csv(grid)))
    assert table["standard_error" if std == "standard_error" else "std"][0] == grid.cells[0].spread


def test_worked_cells_are_in_order_and_addressable():
    grid = toy()
    places = [(cell.data, cell.method, cell.rate) for cell in grid.cells]
    assert places == [(d, m, r) for d in GRID.data for m in GRID.rows for r in GRID.rates]
    cell = grid.cell("digits", "cotuning", 1.0)
    assert cell.values == ((0, 96.0), (1, 96.2), (2, 96.16))
    assert cell.mean == pytest.approx(96.12, abs=1e-12)
    assert cell.spread == pytest.approx(math.sqrt(0.0112), abs=1e-12)  # (0.12^2 + 0.08^2 + 0.04^2) / 2
    assert grid.row("digits", "cotuning")[1] is cell
    with pytest.raises(KeyError, match=r"no cell \(digits, delta, 1.0\)"):
        grid.cell("digits", "delta", 1.0)
    runs = pd.read_csv(GOLDEN / "grid_runs.csv")
    assert build_grid(GRID, runs.sample(frac=1, random_state=0)) == grid  # whatever the order of runs


def test_equal_seeds_spread_exactly_zero():
    assert np.std([60.2] * 3, ddof=1) != 0  # what rounded sums would show
    cell = build_grid(SMALL, runs_of(*(("bss", seed, 60.2) for seed in (0, 1, 2)))).cell("digits", "bss", 0.15)
    assert (cell.mean, cell.spread) == (60.2, 0.0)


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ({"finetune": 70.001, "bss": 70.004}, [True, True]),  # what is shown is the same
        ({"finetune": 70.001, "bss": 70.006}, [False, True]),
        ({"finetune": 70.001, "bss": 69.994}, [True, False]),
        ({}, [False, False]),
        ({"bss": 0.0}, [False, True]),
    ],
)
def test_best_goes_by_the_shown_digits(accuracies, best):
    cells = build_grid(SMALL, runs_of(*((method, 0, value) for method, value in accuracies.items()))).cells
    assert [cell.best for cell in cells] == best


def test_a_baseline_is_shown_below_the_others_and_never_the_best():
    spec = dataclasses.replace(SMALL, methods=("finetune",), baselines=("bss",))
    grid = build_grid(spec, runs_of(("finetune", 0, 60.0), ("bss", 0, 70.0)))
    assert [(cell.method, cell.mean, cell.best) for cell in grid.cells] == [
        ("finetune", 60.0, True),
        ("bss", 70.0, False),
    ]
    markdown, text = to_markdown(grid, ["One.", "Two."]), piped(grid)
    assert "Rows in italics are baselines" in markdown
    assert markdown.index("| *BSS*") < markdown.index("One.\n\nTwo.") < markdown.index("Warnings:")
    rows = text[text.index("digits\n") :].splitlines()
    assert ["Fine-tune" in rows[1], set(rows[2]), "BSS" in rows[3]] == [True, {"─"}, True]
    assert "Rows below the line are baselines" in " ".join(text.split())


def test_a_run_knows_its_unit_and_what_it_recorded():
    more = {"weights_sha256": "ab", "test_sha256": "cd", "correct": "m4A=", "train_images": 7, "instructions": "AVX2"}
    (run,) = build_grid(SMALL, runs_of(("bss", 2, 70.0)).assign(**more)).runs()
    assert run.unit == 2
    assert {name: getattr(run, name) for name in more} == more
    empty = dict.fromkeys(more, math.nan) | {"weights_sha256": None}
    (bare,) = build_grid(SMALL, runs_of(("bss", 2, 70.0)).assign(**empty)).runs()
    assert (bare.correct, bare.weights_sha256, bare.instructions, bare.train_images) == ("", "", "", 0)


def test_the_newest_run_of_a_cell_counts_and_a_replaced_one_leaves_no_trace():
    runs = runs_of(("finetune", 0, 60.0), ("finetune", 0, 70.0))
    runs["finished"] = ["2024-05-02T00:00:00.000+00:00", "2024-05-01T00:00:00.000+00:00"]
    runs["torch"], runs["protocol"] = ["2.15.0", "2.11.0"], ["desk", "center"]
    grid = build_grid(SMALL, runs)
    assert grid.cells[0].values == ((0, 60.0),)
    assert grid.names("protocol", "digits") == ("desk",)
    assert warnings(grid) == ["Runs missing: 5 of 6, in 2 of 2 cells."]


@pytest.mark.parametrize(
    ("accuracies", "text"),
    [
        ((), "– (0/3)"),
        ((50.0,), "**50.00** (1/3)"),
        ((50.0, 52.0), "**51.00 ± 1.41** (2/3)"),
        ((50.0, 51.0, 52.0), "**51.00 ± 1.00**"),
    ],
)
def test_cell_text_shows_missing_runs(accuracies, text):
    runs = runs_of(*(("finetune", seed, accuracy) for seed, accuracy in enumerate(accuracies)))
    assert cell_text(build_grid(SMALL, runs).cells[0]) == text


def test_one_seed_shows_no_spread():
    one = dataclasses.replace(SMALL, units=(0,))
    grid = build_grid(one, runs_of(("finetune", 0, 60.0), ("bss", 0, 61.0)))
    assert "±" not in to_markdown(grid)
    assert caption(grid).startswith("One run, n = 1 replicate, top-1 test accuracy in percent. Highest")
    assert ",60.0,,false\n" in to_csv(grid)


def test_terminal_shows_best_in_bold():
    file = io.StringIO()
    print_grid(toy(), Console(file=file, width=100, force_terminal=True, color_system="standard"))
    assert "96.12 ± 0.11\x1b[0m" in file.getvalue().partition("\x1b[1;32m")[2]
    assert "*70.10" not in file.getvalue()  # the star of a pipe


def test_terminal_table_of_four_rates_fits_100_columns_unbroken():
    wide = TableSpec("wide", "Wide", ("digits",), ("finetune", "cotuning"), (0.15, 0.3, 0.5, 1.0), (0, 1, 2))
    frames = [runs_of(("cotuning", 0, 70.0), ("cotuning", 1, 99.0), rate=rate) for rate in wide.rates]
    lines = piped(build_grid(wide, pd.concat(frames))).splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.count("*84.50 ± 20.51 (2/3)") == 4 for line in lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": "ddof1"}, "std='ddof1' is unknown: choose sample, population, standard_error"),
        ({"units": ()}, r"units \(\) must be at least one"),
        ({"baselines": ("bss",)}, "none twice"),
        ({"name": "a/b"}, "'a/b' names files"),
    ],
)
def test_a_bad_spec_is_named(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SMALL, **change)
