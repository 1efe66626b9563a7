"""Records listed, exported and merged, through the script as a user calls it."""

import csv
import dataclasses
import os
import sys
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf
from test_records import text_with
from toy import toy_record

from cotune_bench import cli
from cotune_bench.config import compose_config, key_of, run_config
from cotune_bench.reports.own_images import own_tables
from cotune_bench.storage.records import Record, RecordStore


def record(key: str = "digits-bss-rate0.15-seed0-0123456789", **values) -> Record:
    usual = {"method": "bss", "data": "x", "backbone": "x", "accuracy": 75.5, "nll": 0.5, "seconds": 1.5}
    return toy_record(key=key, **{**usual, "config": {"key": key}, "environment": {"torch": "2"}, **values})


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working folder with two records."""
    monkeypatch.chdir(tmp_path)
    store = RecordStore(Path("results"))
    store.add(record())
    store.add(record("other", method="l2sp", rate=1.0, accuracy=80.0, val_accuracy=81.0))
    monkeypatch.setattr("cotune_bench.cli.results.upgraded", dict)
    monkeypatch.setattr("cotune_bench.cli.results.key_of", lambda config: config["key"])
    return tmp_path


def ask(*arguments: str) -> int:
    return cli.main(["results", *arguments])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "records").iterdir()}


@pytest.mark.parametrize(
    ("filters", "methods"),
    [
        ([], ["bss", "l2sp"]),
        (["method=bss"], ["bss"]),
        (["method=bss,l2sp", "rate=1"], ["l2sp"]),
        (["rate=0.150"], ["bss"]),
        (["seed=x"], []),
        (["val_accuracy="], ["bss"]),
        (["torch=2", "seed=0"], ["bss", "l2sp"]),
    ],
)
def test_list_shows_the_records_that_meet_the_filters(here, capsys, filters, methods):
    assert ask("list", *filters) == 0
    head, *rows, count = capsys.readouterr().out.splitlines()
    assert head.split()[:7] == ["data", "method", "backbone", "rate", "seed", "split_seed", "accuracy"]
    assert [row.split()[1] for row in rows] == methods
    assert count == f"{len(methods)} record{'' if len(methods) == 1 else 's'}"


def test_a_filter_that_no_record_meets_is_reported_with_existing_values(here, capsys):
    assert ask("list", "method=bsss", "rate=1") == 0
    out, err = capsys.readouterr()
    assert out.endswith("\n0 records\n")
    assert err == "warning: no record has method=bsss: there is bss, l2sp\n"


def test_list_prints_rounded_scores_and_dashes(here, capsys):
    ask("list", "method=bss")
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == [
        "x",
        "bss",
        "x",
        "0.15",
        "0",
        "-",
        "75.50",
        "-",
        "0.5000",
        "1.5",
        record().finished,
        record().key,
    ]


def test_damaged_records_are_named_and_left_out(here, capsys):
    Path("results/records/torn.json").write_text("{")
    assert ask("list") == 0
    out, err = capsys.readouterr()
    assert out.endswith("2 records\n")
    assert err.startswith("warning: results/records/torn.json cannot be read")


def test_export_writes_the_columns_of_results_csv(here, capsys):
    assert ask("export", "out.csv", "method=l2sp") == 0
    assert capsys.readouterr().out == "1 record -> out.csv\n"
    with open("out.csv") as file:
        (row,) = csv.DictReader(file)
    assert (row["method"], row["rate"], row["accuracy"], row["torch"]) == ("l2sp", "1.0", "80.0", "2")


def test_parquet_without_pyarrow_says_what_to_install(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert ask("export", "out.parquet") == 2
    assert capsys.readouterr().err == (
        "error: out.parquet needs pyarrow: pip install pyarrow, or export to a .csv file\n"
    )
    assert not Path("out.parquet").exists()


def test_parquet_holds_the_same(here):
    pytest.importorskip("pyarrow")
    assert ask("export", "out.parquet") == 0
    assert list(pd.read_parquet("out.parquet").accuracy) == [75.5, 80.0]


def test_merge_takes_in_what_is_missing_byte_for_byte_and_twice_changes_nothing(here, capsys):
    other = RecordStore(Path("far"))
    other.add(record("new", accuracy=10.0))
    other.add(record("new", accuracy=11.0, finished="2026-01-02T00:00:00.000+00:00"), again=True)
    other.add(record())
    assert ask("merge", "far") == 0
    assert capsys.readouterr() == ("2 records taken in, 1 were here\n", "")
    ours = files(Path("results"))
    assert {name: content for name, content in ours.items() if name.startswith("new")} == {
        name: content for name, content in files(Path("far")).items() if name.startswith("new")
    }
    with open("results/results.csv") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert ask("merge", "far") == 0
    assert capsys.readouterr() == ("0 records taken in, 3 were here\n", "")
    assert files(Path("results")) == ours


@pytest.mark.parametrize("change", [{"accuracy": 70.0}, {"nll": 0.6}])
def test_merge_keeps_ours_and_names_what_differs(here, capsys, change):
    before = files(Path("results"))
    RecordStore(Path("far")).add(record(**change))
    assert ask("merge", "far") == 0
    theirs = {"accuracy": 75.5, "nll": 0.5, **change}
    assert capsys.readouterr().err == (
        f"warning: {record().key}: ours has 75.50 % and nll 0.5, "
        f"theirs {theirs['accuracy']:.2f} % and nll {theirs['nll']}; ours stays\n"
    )
    assert files(Path("results")) == before
    more = {"data_sha256": "other", "weights_sha256": "other"}
    RecordStore(Path("apart")).add(record(**more, **change))
    assert ask("merge", "apart") == 0
    assert capsys.readouterr().err.endswith(", from other images and source weights; ours stays\n")


def test_merge_names_damaged_records_on_either_side(here, capsys):
    RecordStore(Path("far")).add(record())
    Path("far/records/torn.json").write_text("{")
    Path(f"results/records/{record().key}.json").write_text("{")
    assert ask("merge", "far") == 0
    err = capsys.readouterr().err
    assert "far/records/torn.json cannot be read" in err
    assert f"{record().key}: ours cannot be read and stays" in err
    assert Path(f"results/records/{record().key}.json").read_text() == "{"


def test_refresh_includes_records_that_were_moved_manually(here, capsys):
    Path("results/records/other.json").unlink()
    assert ask("refresh") == 0
    assert capsys.readouterr().out == "results/results.csv\n"
    with open("results/results.csv") as file:
        assert [row["key"] for row in csv.DictReader(file)] == [record().key]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lst"], "argument command: invalid choice: 'lst'"),
        (["list", "metod=bss"], "metod is not a column: did you mean method?"),
        (["list", "bss"], "bss cannot be read: filters are given as column=value"),
        (["export"], "export needs a FILE.csv or FILE.parquet"),
        (["export", "out.xls"], "out.xls cannot be written: its name must end in .csv or .parquet"),
        (["export", "results/results.csv/x.csv"], "results/results.csv/x.csv cannot be written ("),
        (["merge", "nowhere"], "nowhere holds no records: name a results folder"),
        (["merge", "results"], "results is the results folder itself"),
        (["merge"], "merge needs one FOLDER"),
    ],
)
def test_bad_input_is_one_line_and_exits_with_2(here, capsys, arguments, message):
    Path("results/results.csv").write_text("")
    before = files(Path("results"))
    assert ask(*arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert files(Path("results")) == before


def older(config: dict) -> dict:
    """A configuration as records held it when module paths were a part of their keys."""
    data = {name: value for name, value in config["data"].items() if name != "reader"}
    return {**config, "data": {**data, "_target_": f"cotune_bench.data.readers.{config['data']['reader']}.read"}}


def test_rekey_gives_records_and_their_folders_today_s_keys_and_can_be_called_again_after_a_kill(here, capsys):
    own = ["data=folder", "data.root=pets", "method=finetune", "protocol=paper", "backbone=resnet18"]
    config = run_config(compose_config(own))
    store, key = RecordStore(Path("mine")), key_of(config)
    old = [record("pets-old", data="pets", config=older(config), finished=f"2026-01-0{day}") for day in (1, 2)]
    for one in old:
        store.add(one, again=True)
    folder = store.results / "runs" / "pets-old"
    folder.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(older(config)), folder / "config.yaml")
    (folder / "metrics.csv").write_text("kept")
    (line,) = own_tables(store.results)[1]
    assert "2 records in mine have keys of an earlier version" in line

    assert ask("rekey", "results=mine") == 0
    assert capsys.readouterr().out.splitlines() == [f"pets-old -> {key}", "1 key changed"]
    today = [dataclasses.replace(one, key=key, config=config) for one in old]
    assert store.read()[0] == today
    assert (folder.with_name(key) / "metrics.csv").read_text() == "kept"
    assert OmegaConf.load(folder.with_name(key) / "config.yaml") == config

    store.add(old[0])  # the file that a kill left
    for changed in (1, 0):
        assert ask("rekey", "results=mine") == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"{changed} key{'s' * (changed != 1)} changed"
        assert store.read()[0] == today


def test_a_record_whose_config_is_not_its_key_s_is_not_taken_in(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = run_config(compose_config(["method=bss", "seed=1"]))
    far = RecordStore(Path("far"))
    far.add(record(key_of(config), config=config))
    far.add(record("digits-bss-rate0.15-seed1-0123456789", config=config))
    far.add(record("digits-bss-rate0.15-seed2-0123456789", config={"method": None}))
    assert ask("merge", "far") == 0
    out, err = capsys.readouterr()
    assert out == "1 record taken in, 0 were here\n"
    assert [line.partition(" is left out: ")[2].partition(";")[0] for line in err.splitlines()] == [
        f"its config belongs to {key_of(config)}",
        "its config is not that of a run",
    ]


NESTED = '{"schema": 4, "config": ' + "[" * 100_000 + "]" * 100_000 + "}"
HOSTILE = {
    "surrogate": {"method": "\ud800"},
    "line break": {"backbone": "a\nb"},
    "escape": {"weights": "\x1b[31m"},
    "long": {"weights": "x" * 10_000},
    "nested name": {"config": {"a": [{"\u202e": 1}]}},
    "rate": {"rate": 7.0},
    "list": {"config": []},
}


@pytest.mark.parametrize("name", [*HOSTILE, "nested", "fifo", "link", "big"])
def test_records_that_would_harm_are_named_and_nothing_of_them_is_taken_in(here, capsys, name):
    folder = Path("far/records")
    folder.mkdir(parents=True)
    path, before = folder / "evil.json", files(Path("results"))
    if name in HOSTILE:
        path.write_text(text_with(**HOSTILE[name]))
    elif name == "nested":
        path.write_text(NESTED)
    elif name == "fifo":
        os.mkfifo(path)
    elif name == "link":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b" " * (1 << 25))
    assert ask("merge", "far") == 0
    out, err = capsys.readouterr()
    assert out == "0 records taken in, 0 were here\n"
    assert err.startswith("warning: far/records/evil.json cannot be read and is left out: ")
    assert len(err.splitlines()) == 1
    assert files(Path("results")) == before


def test_no_text_of_a_record_is_a_formula_in_results_csv(here):
    RecordStore(Path("results")).add(record("formula", weights="=cmd|x", backbone="@SUM(1)"))
    assert ask("refresh") == 0
    with open("results/results.csv") as file:
        row = next(row for row in csv.DictReader(file) if row["key"] == "formula")
    assert (row["weights"], row["backbone"]) == ("'=cmd|x", "'@SUM(1)")
