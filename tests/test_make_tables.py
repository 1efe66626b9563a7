"""cotune-bench tables over whole results folders: what is missing, damaged or not writable."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy import toy_record

from cotune_bench import cli
from cotune_bench.config import choices
from cotune_bench.config.tables import load_table, table_cells
from cotune_bench.reports import build, page
from cotune_bench.storage.records import RecordStore

TWO = ["data=digits", "method=finetune,cotuning", "rate=0.15", "seed=0,1"]
MISSING = f"desk: 1 of 4 runs are missing: cotune-bench status table=desk {' '.join(TWO)} results=results\n"


def ask(*arguments: str) -> int:
    return cli.main(["tables", *arguments, "results=results"])


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working folder with the four records of TWO."""
    monkeypatch.chdir(tmp_path)
    keys = table_cells(load_table("desk"), TWO).keys
    for number, key in enumerate(keys):
        values = {"method": ("finetune", "cotuning")[number // 2], "data": "digits", "seed": number % 2}
        RecordStore(Path("results")).add(toy_record(key=key, accuracy=90.0 + number, **values))
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Figures take most of the time of a table."""
    monkeypatch.setattr(page, "grid_figures", lambda *_: ([], []))


def a_record(here: Path) -> Path:
    return sorted((here / "results" / "records").iterdir())[0]  # Co-Tuning, seed 0


def texts(here: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (here / "results" / "tables").iterdir()}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("many", "shown"), [(1, True), (0, False)])
def test_the_verdict_stands_below_the_grid_and_in_the_files(here, monkeypatch, capsys, many, shown):
    said = [SimpleNamespace(sentence="The only column.")]
    monkeypatch.setattr(page, "verdicts", lambda grid: said)
    monkeypatch.setattr(page, "table_sentence", lambda grid: "The whole table.")
    monkeypatch.setattr(build, "MANY", many)
    assert ask("table=desk", *TWO) == 0
    out = capsys.readouterr().out
    assert ("\nThe only column.\n" in out) == shown
    assert ("\nA verdict for each of the 1 columns: results/tables/desk.md\n" in out) != shown
    assert "\nThe whole table.\n" in out
    for name in ("desk.md", "desk.html"):
        text = texts(here)[name].decode()
        assert text.index("90.50 ± 0.71") < text.index("The only column.") < text.index("The whole table.")
    assert "The only column." in (here / "results" / "report.html").read_text(encoding="utf-8")


def test_a_whole_table_is_strict_and_twice_changes_no_byte(here, monkeypatch, capsys):
    drawn, draw = [], page.grid_figures
    monkeypatch.setattr(page, "grid_figures", lambda grid, *rest: drawn.append(grid.spec.name) or draw(grid, *rest))
    assert ask("table=desk", *TWO, "--strict") == 0
    assert drawn == ["desk"]  # once for files and page
    out = capsys.readouterr().out
    assert "90.50 ± 0.71" in out
    assert out.splitlines()[-1] == "results/report.html"
    first, report = texts(here), (here / "results" / "report.html").read_bytes()
    assert sorted(first) == ["desk-compare.csv", "desk-compare.md", "desk.csv", "desk.html", "desk.md", "desk.tex"]
    assert (here / "results/figures/desk-digits-accuracy.pdf").exists()
    assert "90.50 ± 0.71" in report.decode()
    assert ask("table=desk", *TWO, "--strict") == 0
    assert (texts(here), (here / "results" / "report.html").read_bytes()) == (first, report)


@pytest.mark.usefixtures("undrawn")
def test_strict_counts_what_is_missing_after_writing_what_there_is(here, capsys):
    a_record(here).unlink()
    assert ask("table=desk", *TWO) == 0
    assert capsys.readouterr().err == ""
    assert ask("table=desk", *TWO, "--strict") == 1
    assert capsys.readouterr().err == MISSING
    assert b"93.00** (1/2)" in texts(here)["desk.md"]


def test_strict_has_a_line_for_every_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ask("--strict") == 1
    out, err = capsys.readouterr()
    assert [line.partition(":")[0] for line in err.splitlines()] == choices("table")
    assert "\ntable2: 180 of 180 runs are missing: cotune-bench status table=table2 results=results\n" in err
    assert "desk: no run yet; cotune-bench run table=desk runs its 63 cells" in out
    assert not (tmp_path / "results").exists()


def test_of_all_tables_those_with_runs_are_composed_and_the_others_take_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = table_cells(load_table("photos"), ["data=grocery", "method=bss", "rate=0.15", "replicate=0"])
    status = tmp_path / "results" / "runs" / cells.keys[0] / "status.json"
    status.parent.mkdir(parents=True)
    status.write_text('{"state": "failed", "reason": "lost"}')
    assert cli.main(["status"]) == 0
    out = capsys.readouterr().out
    assert "photos in results" in out
    (line,) = (line for line in out.splitlines() if line.startswith("tables not begun: "))
    assert "table2 (180)" in line
    assert {one.split(" ")[0] for one in line.partition(": ")[2].split(", ")} == {*choices("table")} - {"photos"}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda values: values | {"schema": 99}, "its schema is 99, this version reads"),
        (lambda values: values | {"config": {"protocol": {}}}, "its config lacks"),
    ],
)
def test_a_damaged_record_is_named_left_out_and_missing(here, capsys, edit, message):
    path = a_record(here)
    values = {**json.loads(path.read_text()), "schema": 3}  # which has no hash
    del values["sha256"]
    path.write_text(json.dumps(edit(values)))
    assert ask("table=desk", *TWO, "--strict") == 1
    warned, lacking = capsys.readouterr().err.splitlines()
    assert warned.startswith("warning: ")
    assert path.stem in warned
    assert message in warned
    assert lacking == MISSING.rstrip()


@pytest.mark.parametrize("folder", ["tables", "figures"])
def test_an_output_folder_that_cannot_be_written_is_reported_and_nothing_written(here, capsys, folder):
    (here / "results" / folder).write_text("in the way")
    assert ask("table=desk", *TWO) == 2
    assert capsys.readouterr().err.startswith(f"error: results=results/{folder} cannot be written")
    assert {path.name for path in (here / "results").iterdir()} <= {"records", "results.csv", folder}


def test_bad_input_is_reported_in_one_line(here, capsys):
    assert ask("--strickt") == 2
    assert capsys.readouterr().err == "error: unrecognized arguments: --strickt: see cotune-bench tables --help\n"
    assert ask("table=dsk") == 2
    assert "did you mean desk?" in capsys.readouterr().err
