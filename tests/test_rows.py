"""Rows of a table that have settings of their own, from the run to status, plan, tables, costs and policies."""

import csv
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pandas as pd
from toy import toy_record

from cotune_bench.cli.plan import items_of
from cotune_bench.config import compose_config, run_key
from cotune_bench.config.tables import load_table
from cotune_bench.reports import page
from cotune_bench.reports.build import table_grid
from cotune_bench.reports.captions import warnings
from cotune_bench.reports.costs import cost_listings, cost_texts
from cotune_bench.reports.figures import grid_figures
from cotune_bench.reports.frame import run_frame
from cotune_bench.reports.grid import TableSpec, build_grid
from cotune_bench.reports.published import compare, compare_markdown, paper_table, published
from cotune_bench.reports.status import rerun_commands, status_lines, table_status
from cotune_bench.storage.records import RecordStore
from cotune_bench.training import timing
from cotune_bench.training.pace import Pace

FEW = ["data=digits", "replicate=0"]
SMALL = ["protocol.updates=2", "device=cpu"]


def key(*settings: str) -> str:
    given = [] if any(one.startswith("replicate=") for one in settings) else ["replicate=0"]
    return run_key(compose_config(["data=digits", "rate=0.15", *given, *settings]))


LAST_1, LAST_2 = (["method=last_k", f"method.k={k}"] for k in (1, 2))


def put(**values: object) -> None:
    """A record under a key; which row it belongs to follows from the key alone."""
    (seed,) = map(int, re.findall(r"-seed(\d)-", str(values["key"])))
    RecordStore(Path("results")).add(toy_record(data="digits", method="last_k", seed=seed, **values))


def test_a_table_runs_its_rows_and_one_training_gives_two(here, ask):
    rows = "method=last_1,last_2,spottune,spottune_tuned"
    done = ask("run", "table=desk_where", *FEW, rows, *SMALL)
    assert "3 done, 0 failed, 1 skipped; 4 cells" in done.out
    for name in ("Last block", "Last 2 blocks", "SpotTune, all tuned"):
        assert re.search(rf"^  {name} +\*?\d+\.\d\d$", done.out, re.MULTILINE)
    grid, _, damaged = table_grid("desk_where", [*FEW, rows, *SMALL])
    found = {method: grid.cell("digits", method, 0.15).runs[0] for method in grid.spec.rows}
    settings = {"last_1": LAST_1, "last_2": LAST_2, "spottune": ["method=spottune"]}
    assert {row: found[row].key for row in settings} == {row: key(*given, *SMALL) for row, given in settings.items()}
    assert damaged == []
    trained = {row: run.costs["trained_parameters"] for row, run in found.items()}
    assert trained["last_1"] < trained["last_2"] < trained["spottune"] == trained["spottune_tuned"]
    assert found["spottune"].costs["test_macs"] > found["spottune_tuned"].costs["test_macs"]
    assert "4 cells: 4 done" in ask("status", "table=desk_where", *FEW, rows, *SMALL).out


def test_status_of_rows_and_the_command_that_runs_one_again(here):
    put(key=key(*LAST_2))
    failed = Path("results/runs", key(*LAST_1))
    failed.mkdir(parents=True)
    (failed / "failure.json").write_text(json.dumps({"reason": "ValueError: no"}))
    table = table_status("desk_where", [*FEW, "method=last_1,last_2,finetune"])
    states = {cell.method: (cell.state, cell.detail) for cell in table.cells}
    assert states == {"last_1": ("failed", "ValueError: no"), "last_2": ("done", ""), "finetune": ("missing", "")}
    assert any(line.split() == ["digits", "last_2", "1/1"] for line in status_lines(table))
    (command,) = rerun_commands(table)
    given = shlex.split(command)[2:]
    assert {*LAST_1, "data=digits", "rate=0.15", "replicate=0"} == set(given)
    assert run_key(compose_config(given)) == key(*LAST_1)


def test_records_of_one_method_stay_in_their_rows(here):
    put(key=key(*LAST_1), accuracy=70.0)
    put(key=key(*LAST_2), accuracy=80.0)
    grid, _, _ = table_grid("desk_where", FEW)
    means = {cell.method: cell.mean for cell in grid.cells if cell.n}
    assert means == {"last_1": 70.0, "last_2": 80.0}
    rows = {row["method"]: row["mean"] for row in compare(grid, None) if row["n"]}
    assert rows == means


def test_missing_runs_of_rows_are_counted(here, ask, monkeypatch):
    monkeypatch.setattr(page, "grid_figures", lambda *_: ([], []))
    put(key=key(*LAST_1))
    strict = ask("tables", "table=desk_where", *FEW, "method=last_1,last_2", "results=results", "--strict")
    assert strict.code == 1
    assert "desk_where: 1 of 2 runs are missing" in strict.err


def test_every_row_is_timed_on_its_own(tmp_path, monkeypatch, capsys):
    timed = []

    def measure(config, counts):
        timed.append(config.method.get("k"))
        return Pace(1.0, 0.0, 0, "abacus")

    monkeypatch.setattr(timing, "measure", measure)
    table = table_status("desk_where", [f"results={tmp_path}", "data=digits,greek", "method=last_1,last_2"])
    items = items_of(table)
    assert [(item.data, item.method, item.cells) for item in items][:2] == [
        ("digits", "last_1", 2),
        ("digits", "last_2", 2),
    ]
    assert timed == [1, 2]


# SpotTune's table ---------------------------------------------------------------------------------------------------


def test_the_published_table_has_every_cell_of_ours_without_a_spread():
    table, cells = load_table("spottune"), published("spottune")
    assert set(cells) == {(data, row, 1.0) for data in table["data"] for row in table["method"] + table["baseline"]}
    assert {std for _, std in cells.values()} == {None}
    assert cells["wikiart", "finetune_deep", 1.0][0] == 76.52
    assert cells["sketches", "spottune_tuned", 1.0][0] == 78.88
    best = {
        data: max((mean, row) for (of, row, _), (mean, _) in cells.items() if of == data)[1] for data in table["data"]
    }
    assert best == {
        "cub": "spottune",
        "cars": "spottune",
        "flowers": "spottune_global",
        "wikiart": "finetune_deep",
        "sketches": "spottune",
    }


def test_a_comparison_without_a_published_spread_says_what_that_allows():
    assert paper_table("spottune", None) == "spottune"
    spec = TableSpec(
        "spottune", "T", ("cub",), ("finetune", "last_1"), (1.0,), (0,), "seed", baselines=("finetune_deep",)
    )
    usual = {"data": "cub", "rate": 1.0, "seed": 0, "backbone": "resnet50", "protocol": "paper", "weights": "V1"}
    runs = [{**usual, "method": "finetune", "accuracy": 82.86}, {**usual, "method": "last_1", "accuracy": 77.68}]
    runs.append({**usual, "method": "finetune_deep", "accuracy": 82.13, "backbone": "resnet101"})
    frame = pd.DataFrame(
        [{**row, "key": str(n), "finished": "2026", "version": "1", "torch": "2"} for n, row in enumerate(runs)]
    )
    grid = build_grid(spec, frame)
    text = compare_markdown(grid, "spottune")
    assert "published without a spread and without the number of runs" in text
    assert "how far another run of theirs would be is not known, so nothing is tested" in text
    assert "Backbone of the paper: resnet50 and resnet101, pre-trained." in text
    assert "not the same experiment" not in text
    assert [round(row["difference"], 2) for row in compare(grid, "spottune")] == [1.0, -1.0, 0.0]
    assert [row["paper_std"] for row in compare(grid, "spottune")] == [None] * 3


# Costs --------------------------------------------------------------------------------------------------------------

COSTS = {"parameters": 50_000, "trained_parameters": 20_000, "train_macs": 9e5, "test_macs": 3e5}


def test_costs_stand_beside_those_of_fine_tuning(here):
    put(key=key(*LAST_1), costs=COSTS)
    more = {"parameters": 100_000, "trained_parameters": 52_345, "train_macs": 1.8e6, "test_macs": 1.5e9}
    put(key=key("method=finetune"), costs=more)
    put(key=key(*LAST_2))  # an older record
    probe = {"parameters": 50_000, "test_macs": 3e5}
    put(key=key("method=feature_extractor"), costs=probe)
    grid, _, _ = table_grid("desk_where", FEW)
    ((title, rows, _),) = cost_listings(grid)
    assert title == "Costs"
    assert rows[1:] == [
        ["digits", "Fine-tune", "52.3 k", "100 k", "1.80 M", "1.00", "1.50 G", "1.00"],
        ["digits", "Last block", "20.0 k", "50.0 k", "900 k", "0.50", "300 k", "0.00"],
        ["digits", "Feature extractor", "–", "50.0 k", "–", "–", "300 k", "0.00"],
    ]
    texts = cost_texts(grid)
    assert list(texts) == ["desk_where-costs.md", "desk_where-costs.csv"]
    first = next(csv.DictReader(texts["desk_where-costs.csv"].splitlines()))
    assert {name: float(first[name]) for name in more} == more


def test_a_table_of_older_records_has_no_costs(here):
    put(key=key(*LAST_1))
    grid, _, _ = table_grid("desk_where", FEW)
    assert (cost_listings(grid), cost_texts(grid)) == ([], {})


# Policies -----------------------------------------------------------------------------------------------------------

POLICY = "class,images,layer1.0,layer2.0\nall,4,0.25,0.5\na,2,0.5,{}\nb,2,0,0.5\n"


def policies(texts: dict[tuple[str, ...], str]) -> dict:
    for settings, text in texts.items():
        folder = Path("results/runs") / key(*settings)
        folder.mkdir(parents=True)
        (folder / "policy.csv").write_text(text)
        put(key=folder.name)
    grid, results, _ = table_grid("desk_where", ["data=digits", "replicate=0,1"])
    figures, left_out = grid_figures(grid, results)
    assert not any("No policy" in line for line in left_out)
    return {one.name.removeprefix("desk_where-"): one for one in figures if "policy" in one.name}


def test_the_policy_figure_has_the_mean_share_of_each_block(here):
    one = POLICY.format(0.5)
    other = one.replace("all,4,0.25", "all,4,0.75")
    found = policies({("method=spottune",): one, ("method=spottune", "replicate=1"): other})
    assert list(found) == ["policy", "digits-spottune-policy"]
    assert found["policy"].rows == (
        ("Method", "Data set", "layer1.0", "layer2.0"),
        ("SpotTune", "digits", "50", "50"),
    )
    panel = found["policy"].figure.axes[0]
    assert panel.images[0].get_array().tolist() == [[50, 50]]
    assert panel.images[0].get_clim() == (0, 100)
    by_class = found["digits-spottune-policy"].figure.axes[0]
    assert by_class.images[0].get_array().tolist() == [[50, 50], [0, 50]]


def test_a_policy_that_does_not_depend_on_the_image_is_not_drawn_by_class(here):
    fixed = "class,images,layer1.0\nall,4,1\na,2,1\nb,2,1\n"
    assert list(policies({("method=spottune_global",): fixed})) == ["policy"]


def test_coins_are_not_drawn_by_class(here):
    assert list(policies({("method=random_policy",): POLICY.format(0.25)})) == ["policy"]


def test_a_baseline_on_another_backbone_is_no_mixture_and_clashes_with_no_weights(here):
    for settings, network in ((["method=finetune"], "glyphnet"), (["method=bss"], "glyphnet_deep")):
        marks = {"backbone": network, "weights": "glyphs", "weights_sha256": network, "accuracy": 50.0}
        put(key=key(*settings), **marks)
    spec = TableSpec("t", "T", ("digits",), ("finetune",), (0.15,), (0,), baselines=("bss",))
    records, _ = RecordStore(Path("results")).read()
    frame = run_frame(records)[0].assign(method=["bss", "finetune"])
    assert warnings(build_grid(spec, frame)) == []
    apart = replace(spec, methods=("finetune", "bss"), baselines=())
    (mixed,) = warnings(build_grid(apart, frame))
    assert mixed == "Mixed backbones in digits: glyphnet in 1 run, glyphnet_deep in 1 run."
    assert warnings(build_grid(replace(apart, apart=("bss",)), frame)) == []
