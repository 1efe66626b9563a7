"""cotune-bench compare: what two runs do not share, and whether they should."""

from pathlib import Path

import pytest
from toy import toy_record

from cotune_bench import cli
from cotune_bench.reports.run_diff import changes, part
from cotune_bench.storage.records import RecordStore

CURVE = "updates,lr,ce,loss\n3,0.1,2.5,2.5\n6,0.1,1.5,1.5\n"


def put(results: str, key: str, curve: str | None = CURVE, **values: object) -> None:
    """A run: record and metrics."""
    RecordStore(Path(results)).add(toy_record(key=key, **values))
    folder = Path(results) / "runs" / key
    folder.mkdir(parents=True)
    if curve:
        (folder / "metrics.csv").write_text(curve)


pytestmark = pytest.mark.usefixtures("here")


def ask(*arguments: str) -> int:
    return cli.main(["compare", *arguments])


def config(**protocol: object) -> dict:
    usual = {"val": 0.2, "split_order": "split_then_sample", "lr": 0.1}
    return {"split_seed": 0, "protocol": {**usual, **protocol}}


def test_changes_of_a_worked_example():
    first = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": "x"}
    second = {"a": 1.0, "b": {"c": [1, 3], "d": None, "f": True}, "e": {"g": 1}}
    assert changes(first, second) == {
        "b.c": ("[1, 2]", "[1, 3]"),
        "b.f": ("–", "True"),
        "e": ("x", "–"),
        "e.g": ("–", "1"),
    }


def test_only_what_differs_is_shown(capsys):
    put("results", "cub-one", config=config())
    environment = {"version": "0.1.0", "torch": "2.16.0", "device": "cpu"}
    put("results", "cub-two", config=config(lr=0.01), environment=environment, accuracy=52.5, seconds=10.0)
    assert ask("cub-o", "results/runs/cub-two") == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("configuration")
    assert [line.split() for line in lines[start + 1 : start + 3]] == [["protocol.lr", "0.1", "->", "0.01"], []]
    start = lines.index("inputs and environment")
    assert [line.split() for line in lines[start + 1 : start + 3]] == [["torch", "2.15.0", "->", "2.16.0"], []]
    text = " ".join(" ".join(lines).split())
    assert "accuracy 50.00 % 52.50 % +2.5 nll 2.5 2.5 equal val_accuracy – – seconds 12.5 10.0 -2.5" in text
    assert lines[-1] == "Different settings: the results need not agree."


@pytest.mark.parametrize(
    ("theirs", "code", "curve", "verdict"),
    [
        ({}, 0, "equal in all 2 shared rows", "and they are.\n"),
        (
            {
                "accuracy": 51.0,
                "curve": CURVE.replace("1.5", "1.6"),
                "environment": {"version": "0.1.0", "torch": "2.16.0", "device": "cpu"},
            },
            1,
            "first differs at update 6: ce 1.5 1.6, loss 1.5 1.6",
            "and they are not. What may explain it: torch.\n",
        ),
    ],
)
def test_the_same_key_elsewhere(capsys, theirs, code, curve, verdict):
    put("mine", "cub-one")
    put("other", "cub-one", **theirs)
    assert ask("cub-one", "other/records/cub-one.json", "results=mine") == code
    out = capsys.readouterr().out
    assert curve in out
    assert out.endswith(f"Same key: the results should be identical, {verdict}")


def test_two_records_of_one_key(capsys):
    put("results", "cub-one")
    RecordStore(Path("results")).add(toy_record(key="cub-one", accuracy=51.0), again=True)
    names = sorted(path.name for path in Path("results/records").iterdir())
    assert ask(*(f"results/records/{name}" for name in names)) == 1
    out = capsys.readouterr().out
    assert "not compared: both runs wrote to one folder" in out
    assert out.endswith("and they are not. Nothing recorded explains it.\n")


def test_a_run_that_is_not_finished_has_its_settings_and_curve(capsys):
    put("results", "cub-one", config=config())
    folder = Path("results/runs/cub-two")
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "split_seed: 0\nprotocol: {val: 0.2, split_order: split_then_sample, lr: 0.1}\n"
    )
    (folder / "metrics.csv").write_text(CURVE.rpartition("6")[0])
    assert ask("cub-one", "cub-two") == 0
    out = capsys.readouterr().out
    assert "equal in all 1 shared rows of 2 and 1" in out
    assert "no difference so far, but not both are finished" in out


def test_curves_of_other_columns_part_only_where_both_have_a_value(tmp_path):
    (tmp_path / "a").write_text("updates,lr,ce,loss\n3,0.1,2.5,2.5\n6,0.1,1.5,1.5\n9,0.1,1")
    (tmp_path / "b").write_text("updates,lr,ce,bss,loss\n6,0.1,1.5,0.1,1.6\n")
    assert part(tmp_path / "a", tmp_path / "b") == ("metrics.csv   first differs at update 6: loss 1.5 1.6", True)
    assert "missing" in part(tmp_path / "a", tmp_path / "none")[0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cub-one"], "the following arguments are required: run"),
        (["cub-one", "cub-one"], "cub-one is named twice"),
        (["cub", "cub-one"], "cub means 2 runs"),
        (["cub-one", "cub-bare"], "cub-bare has neither a record nor results/runs/cub-bare/config.yaml"),
        (["cub-one", "broken.json"], "broken.json cannot be read: it lacks"),
        (["cub-one", "cars-three"], "cars-three is no run of results"),
    ],
)
def test_bad_input_is_reported_in_one_line(capsys, names, message):
    put("results", "cub-one")
    Path("results/runs/cub-bare").mkdir()
    Path("broken.json").write_text('{"schema": 1}')
    assert ask(*names) == 2
    assert message in capsys.readouterr().err
