"""The command line from end to end, on real digits and a network with random weights."""

import csv
import json
import re
from pathlib import Path

import pytest
from filelock import FileLock

from cotune_bench import cli
from cotune_bench.config import compose_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.methods.bss import BSS
from cotune_bench.methods.finetune import FineTune
from cotune_bench.training.experiment import Experiment

TINY = ("backbone.weights=random", "protocol.updates=2", "device=cpu")


def key_of(*overrides: str) -> str:
    return run_key(compose_config([*overrides, *TINY]))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def records(results: Path) -> list[str]:
    return sorted(path.name for path in (results / "records").iterdir())


def rows(results: Path) -> list[dict]:
    with (results / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_what_its_method_prepared(here):
    assert cli.main(["method=cotuning", *TINY]) == 0
    folder = here / "results" / "runs" / key_of("method=cotuning")
    assert (folder / "relationship.csv").read_text().startswith("target,source_number,source,percent\n0,")
    assert (folder / "calibration.csv").read_text().startswith("state,temperature,bin,images,confidence,accuracy\n")


def test_a_run_leaves_a_record_and_is_not_run_again_unless_forced(here, capsys):
    results = here / "results"
    assert cli.main(["method=finetune", *TINY]) == 0
    key = key_of("method=finetune")
    out, _ = capsys.readouterr()
    assert out.startswith("digits finetune rate 0.15 seed 0: ")
    assert out.rstrip().endswith(f"-> results/records/{key}.json")
    assert records(results) == [f"{key}.json"]
    (row,) = rows(results)
    record = json.loads((results / "records" / f"{key}.json").read_text())
    assert float(row["accuracy"]) == record["metrics"]["accuracy"]
    test, validation = record["metrics"]["accuracy"], record["validation"]["accuracy"]
    assert f"{test:.2f} % (validation {validation:.2f} %)" in out
    assert (record["test_images"], record["weights"]) == (899, "random")
    for name, images in (("metrics", 899), ("validation", 177)):  # whole numbers of images
        right = record[name]["accuracy"] * images / 100
        assert right == pytest.approx(round(right), abs=1e-6)
    assert record["config"]["protocol"]["updates"] == 2
    assert "threads" not in record["config"]["protocol"]
    metrics = (results / "runs" / key / "metrics.csv").read_text().splitlines()
    assert metrics[0] == "updates,lr,ce,loss"
    assert [line.split(",")[:2] for line in metrics[1:]] == [["1", "0.03"], ["2", "0.03"]]
    assert not (results / "runs" / key / "failure.json").exists()

    before = files(results)
    assert cli.main(["method=finetune", *TINY]) == 0
    assert capsys.readouterr().out == f"{key}: finished before, not run again (force=true does)\n"
    assert files(results) == before

    (results / "results.csv").write_text("")  # as if a kill had come between record and row
    assert cli.main(["method=finetune", *TINY]) == 0
    capsys.readouterr()
    assert files(results) == before

    assert cli.main(["method=finetune", *TINY, "force=true"]) == 0
    assert records(results) == [f"{key}.json", f"{key}~2.json"]
    first, second = rows(results)
    assert (first["accuracy"], first["nll"]) == (second["accuracy"], second["nll"])
    assert files(results)[f"records/{key}.json"] == before[f"records/{key}.json"]


def test_a_failed_run_is_reported_and_kept_until_it_succeeds(here, capsys, monkeypatch):
    def broken(self, batch):
        raise RuntimeError("out of luck")

    folder = here / "results" / "runs" / key_of("method=finetune")
    with monkeypatch.context() as patch:
        patch.setattr(FineTune, "forward", broken)
        assert cli.main(["method=finetune", *TINY]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"failed: RuntimeError: out of luck -> {folder.relative_to(here) / 'failure.json'}\n"
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["reason"] == "RuntimeError: out of luck"
    assert 'raise RuntimeError("out of luck")' in failure["traceback"]
    assert failure["config"]["seed"] == 0
    assert not (here / "results" / "records").exists()

    assert cli.main(["method=finetune", *TINY]) == 0
    assert not (folder / "failure.json").exists()
    assert len(records(here / "results")) == 1


def test_a_failed_build_leaves_the_status_of_another_process_at_the_cell(here, monkeypatch):
    folder = here / "results" / "runs" / key_of("method=finetune")
    folder.mkdir(parents=True)
    (folder / "status.json").write_text("theirs")

    def broken(config):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(Experiment, "build", broken)
    with FileLock(folder / "lock"):
        assert cli.main(["method=finetune", *TINY]) == 1
    assert files(folder) == {"lock": b"", "status.json": b"theirs"}
    assert cli.main(["method=finetune", *TINY]) == 1
    assert json.loads((folder / "status.json").read_text())["state"] == "failed"
    assert (folder / "failure.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method=bsss"], "method=bsss is unknown: did you mean bss?"),
        (["status", "--falied"], "unrecognized arguments: --falied: see cotune-bench status --help"),
        (["tabels"], "tabels is not a command: did you mean tables? choose run, tables,"),
        (["--quick"], "--quick is not an option of a run: see cotune-bench run --help"),
        (["seed=0,1"], "seed=0,1 names several values: add -m to run them all"),
        (["-m", "method=bss,finetune", "method.k=1"], "method.k is not a setting"),
        (["table=desc"], "table=desc is unknown: did you mean desk?"),
        (["table=desk", "table=desk"], "table= is given twice"),
        (["device=quantum"], "device=quantum cannot be used (there is no such device): choose auto, cpu or cuda:0"),
        (["backbone.weights=imagenet"], "backbone glyphnet has no weights imagenet: choose glyphs, "),
        (["method.k=0", "method=bss"], "method.k=0 cannot be used: it must be 1 or more"),
        (["protocol.val=0", "method=cotuning"], "method.relationship=reverse needs validation images"),
    ],
)
def test_bad_input_exits_with_2_and_one_line_and_writes_nothing(here, capsys, arguments, message):
    tiny = (
        []
        if {"table=desk", "status"} & set(arguments)
        else [text for text in TINY if text.split("=")[0] not in str(arguments)]
    )
    assert cli.main([*arguments, *tiny]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (here / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "below"),
    [(["method=finetune"], ""), (["-m", "seed=0,1"], "/deeper/still"), (["table=desk", "method=bss"], "")],
)
def test_a_results_folder_that_is_a_file_is_refused(here, capsys, arguments, below):
    (here / "taken").write_text("mine")
    assert cli.main([*arguments, *TINY, f"results=taken{below}"]) == 2
    assert re.search(r"error: results=.*taken.* cannot be written .*is not a folder", capsys.readouterr().err)
    assert files(here) == {"taken": b"mine"}


def test_a_sweep_continues_after_a_failure_and_again_with_what_is_missing(here, capsys, monkeypatch):
    sweep = ["-m", "method=finetune,bss", "seed=0,1", *TINY]
    results, failing = here / "results", iter([True])
    forward = BSS.forward

    def broken_once(self, batch):
        if next(failing, False):
            raise RuntimeError("out of luck\nand more")
        return forward(self, batch)

    cli.main(["method=finetune", "seed=1", *TINY])
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(BSS, "forward", broken_once)
        assert cli.main(sweep) == 1
    out, err = capsys.readouterr()
    key = key_of("method=bss", "seed=0")
    failure = results / "runs" / key / "failure.json"
    assert out.splitlines()[-1].startswith("2 done, 1 failed, 1 skipped; 4 cells in ")
    line = f"{key} failed: RuntimeError: out of luck -> {failure.relative_to(here)}"
    assert [text.strip() for text in err.splitlines()] == [line, line]  # when it happens, and in the summary
    assert len(records(results)) == len(rows(results)) == 3
    assert not any((results / ".sweeps").iterdir())

    assert cli.main(sweep) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 done, 0 failed, 3 skipped; 4 cells in ")
    assert not failure.exists()
    cells = [(method, seed) for method in ("bss", "finetune") for seed in "01"]
    assert sorted((row["method"], row["seed"]) for row in rows(results)) == cells


def test_a_table_runs_exactly_its_cells_and_prints_the_grid(here, capsys):
    # the axes as given here replace the table's own
    methods = ["bss", "finetune"]
    arguments = ["table=desk", "data=digits", f"method={','.join(methods)}", "seed=0", "rate=0.15", *TINY]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "2 done, 0 failed, 0 skipped; 2 cells in " in out
    assert sorted(row["method"] for row in rows(here / "results")) == methods
    for row in rows(here / "results"):
        assert f"{float(row['accuracy']):.2f}" in out
    tables = here / "results" / "tables"
    before = files(tables)
    assert {"desk.md", "desk.csv"} <= set(before)

    damaged = here / "results" / "records" / f"{key_of('method=bss')}.json"
    damaged.write_text("{")
    assert cli.main(arguments) == 1  # its cell is neither done nor may it be written over
    out, err = capsys.readouterr()
    assert f"warning: {damaged}" in err.replace("warning: results", f"warning: {here}/results")
    assert damaged.read_text() == "{"
    assert sorted(row["method"] for row in rows(here / "results")) == methods[1:]
    assert files(tables)["desk.csv"] != before["desk.csv"]
    assert "0 done, 1 failed, 1 skipped" in out


def test_a_sweep_of_replicates_runs_three_seeds_each_and_prints_them(here, capsys):
    assert cli.main(["-m", "method=finetune", "replicate=range(0,2)", *TINY]) == 0
    out = capsys.readouterr().out
    for number in (0, 1):
        assert f"digits finetune rate 0.15 replicate {number}: " in out
    seeds = ["seed=1", "split_seed=1", "backbone.seed=1"]
    assert f"{key_of('method=finetune', *seeds)}.json" in records(here / "results")
    found = sorted((row["seed"], row["split_seed"], row["weights_sha256"]) for row in rows(here / "results"))
    assert [one[:2] for one in found] == [("0", "0"), ("1", "1")]
    assert found[0][2] != found[1][2]
    assert len({row["test_sha256"] for row in rows(here / "results")}) == 1


def test_a_replicate_without_a_source_network_is_refused_before_the_sweep(here, capsys, monkeypatch):
    def load(name, cache, *, weights, seed, **more):
        if seed > 1:
            raise UserError(f"backbone.seed={seed} has no shipped source network: choose 0 to 1")

    monkeypatch.setattr("cotune_bench.backbones.glyphnet.load", load)
    assert cli.main(["-m", "method=finetune", "replicate=0,1,2", *TINY]) == 2
    assert capsys.readouterr().err == "error: backbone.seed=2 has no shipped source network: choose 0 to 1\n"
    assert not (here / "results").exists()
