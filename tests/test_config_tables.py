"""Configuration of tables: their cells are the runs of their settings, and bad ones are refused in one line."""

from itertools import product

import pytest

from cotune_bench.config import axes, check_sweep, compose_config, run_key
from cotune_bench.config.tables import load_table, table_cells, table_overrides, table_sweeps
from cotune_bench.errors import UserError

TABLE = {"data": ["digits"], "method": ["bss", "cotuning"], "rate": [0.15, 1], "seed": [0, 2]}
LOWER = {**TABLE, "baseline": ["finetune"]}


def composed(overrides: list[str], **axes_: list) -> list[str]:
    """Keys of all cells, each from a configuration of its own."""
    swept = {**TABLE, **axes_}
    return [
        run_key(compose_config([f"data={data}", f"method={method}", f"rate={rate}", f"seed={seed}", *overrides]))
        for data in swept["data"]
        for method in swept["method"]
        for rate in swept["rate"]
        for seed in swept["seed"]
    ]


def test_cells_of_a_table_are_the_keys_of_its_runs():
    cells = table_cells(TABLE)
    assert list(cells.keys) == composed([])
    assert (cells.data, cells.method, cells.rate) == (("digits",), ("bss", "cotuning"), (0.15, 1.0))
    assert (cells.unit, cells.units, cells.baseline) == ("seed", (0, 2), ())
    assert cells.results == "results"


def test_overrides_replace_an_axis_and_reach_every_cell():
    cells = table_cells(TABLE, ["seed=5", "rate=0.3,0.5", "protocol.updates=2", "results=here"])
    assert list(cells.keys) == composed(["protocol.updates=2"], rate=[0.3, 0.5], seed=[5])
    assert cells.results == "here"


def test_cells_of_replicates_are_those_of_their_three_seeds():
    table = {name: value for name, value in TABLE.items() if name != "seed"} | {"replicate": [0, 3]}
    for cells in (table_cells(table), table_cells(TABLE, ["replicate=0,3"])):
        assert (cells.unit, cells.units) == ("replicate", (0, 3))
        three = [[f"seed={one}", f"split_seed={one}", f"backbone.seed={one}"] for one in (0, 3)]
        places = [(method, rate) for method in TABLE["method"] for rate in TABLE["rate"]]
        assert list(cells.keys) == [
            run_key(compose_config([f"method={method}", f"rate={rate}", *seeds]))
            for method, rate in places
            for seeds in three
        ]
    assert table_cells(table, ["seed=0,2"]) == table_cells(TABLE)
    assert "replicate=0,3" in table_overrides(table, [])
    with pytest.raises(UserError, match="give replicate= or seed=, not both"):
        table_overrides(TABLE, ["replicate=0", "seed=1"])


def test_baselines_of_a_table_are_run_with_it_and_kept_apart():
    cells = table_cells(LOWER)
    assert (cells.method, cells.baseline) == (("bss", "cotuning"), ("finetune",))
    assert list(cells.keys) == composed([], method=["bss", "cotuning", "finetune"])
    assert "method=bss,cotuning,finetune" in table_overrides(LOWER, [])
    chosen = table_cells(LOWER, ["method=finetune,bss"])
    assert (chosen.method, chosen.baseline) == (("bss",), ("finetune",))
    alone = table_cells(LOWER, ["method=finetune"])
    assert (alone.method, alone.baseline) == (("finetune",), ())


ROWS = {
    **TABLE,
    "method": ["finetune", "last_2", "spottune_tuned", "spottune"],
    "baseline": ["deep"],
    "rows": {
        "last_2": ["method=last_k", "method.k=2"],
        "spottune_tuned": ["method=spottune", "method.test_policy=tuned"],
        "deep": ["method=finetune", "backbone=resnet101"],
    },
}


def test_a_row_may_have_settings_of_its_own_and_its_cells_are_the_runs_of_these_settings():
    cells = table_cells(ROWS, ["protocol.updates=2"])
    assert (cells.method, cells.baseline) == (("finetune", "last_2", "spottune_tuned", "spottune"), ("deep",))
    settings = [["method=finetune"], *list(ROWS["rows"].values())[:2], ["method=spottune"], ROWS["rows"]["deep"]]
    assert list(cells.keys) == [
        run_key(compose_config(["data=digits", *row, f"rate={rate}", f"seed={seed}", "protocol.updates=2"]))
        for row in settings
        for rate in (0.15, 1)
        for seed in (0, 2)
    ]
    assert cells.places[4] == ("digits", "last_2", 0.15, 0)
    # sweeps over exactly these: methods first, so that rows of one training find its records
    common = ["data=digits", "rate=0.15,1", "seed=0,2", "protocol.updates=2"]
    (sweeps,) = table_sweeps(ROWS, ["protocol.updates=2"])
    assert sweeps[0] == ["method=finetune,spottune", *common]
    assert sweeps[1:] == [[*row, *common] for row in ROWS["rows"].values()]
    ran = [run_key(compose_config(cell)) for sweep in sweeps for cell in product(*axes(sweep))]
    assert sorted(ran) == sorted(cells.keys)


def test_the_parts_of_a_table_run_first_and_keep_their_networks():
    table = {**ROWS, "parts": ["last_2", "finetune"], "settings": ["backbone.weights=letters", "method.k=7"]}
    given = ["data=digits", "rate=1", "seed=0"]
    parts, others = table_sweeps(table, given)
    common, kept = table["settings"], "keep_checkpoint=true"
    last_2 = ["method=last_k", "method.k=2", common[0], kept]  # its own k
    assert parts == [["method=finetune", *common, kept, *given], [*last_2, *given]]
    assert others[0] == ["method=spottune", *common, *given]
    assert [sweep[:2] for sweep in others[1:]] == [ROWS["rows"][row] for row in ("spottune_tuned", "deep")]
    assert table_cells(table, ["method=last_2"]).given == {"last_2": last_2}
    assert table_sweeps(table, [*given, "method=spottune"]) == [[[*common, *given, "method=spottune"]]]
    assert compose_config(["keep_checkpoint=true", "keep_checkpoint=false"]).keep_checkpoint is False


def test_rows_are_chosen_by_name():
    chosen = table_cells(ROWS, ["method=deep,last_2", "seed=1", "rate=1"])
    assert (chosen.method, chosen.baseline, len(chosen.keys)) == (("last_2",), ("deep",), 2)
    wanted = ["data=digits", "rate=1", "seed=1"]
    (sweeps,) = table_sweeps(ROWS, ["method=deep,last_2", "seed=1", "rate=1"])
    assert [set(sweep) for sweep in sweeps] == [{*ROWS["rows"][row], *wanted} for row in ("deep", "last_2")]
    with pytest.raises(UserError, match="method=last_7 is unknown"):
        table_cells(ROWS, ["method=last_7"])


def test_two_rows_that_are_the_same_runs_are_refused():
    table = {**TABLE, "method": ["last_k", "last_1"], "rows": {"last_1": ["method=last_k", "method.k=1"]}}
    with pytest.raises(
        UserError, match=r"the rows last_k and last_1 are the same runs, digits-last_k-rate0\.15-seed0-"
    ):
        table_cells(table)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("{bss: [method=bss, method.weight=2]}", "table odd: the row bss has the name of a method"),
        ("{more: [method.weight=2]}", "the row more of a table needs one method=NAME among its settings"),
        ("{more: [method=bsx]}", "table odd: method=bsx is unknown: did you mean bss"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(conf, rows, message):
    text = f"data: [digits]\nmethod: [bss, more]\nseed: [0]\nrows: {rows}\n"
    (conf / "table" / "odd.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_table("odd")


def test_the_sweep_of_a_table_runs_exactly_its_cells():
    sweep = table_overrides(TABLE, ["method=l2sp", "protocol.updates=2"])
    assert sweep == ["data=digits", "rate=0.15,1", "seed=0,2", "method=l2sp", "protocol.updates=2"]
    assert check_sweep(sweep) == len(table_cells(TABLE, ["method=l2sp", "protocol.updates=2"]).keys) == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [("rate=2", "rate=2.0 cannot be used: it is a share"), ("seed=-3", "seed=-3 cannot be used")],
)
def test_bad_overrides_of_a_table_are_refused(override, message):
    with pytest.raises(UserError, match=message):
        table_cells(TABLE, [override])


def test_an_unknown_table_or_a_table_of_unknown_things_is_named(conf):
    with pytest.raises(UserError, match="table=desc is unknown: did you mean desk"):
        load_table("desc")
    (conf / "table" / "odd.yaml").write_text("data: [digits]\nmethod: [bss, bsx]\nseed: [0]\n")
    (conf / "table" / "both.yaml").write_text("data: [digits]\nmethod: [bss]\nseed: [0]\nreplicate: [0]\n")
    with pytest.raises(UserError, match=r"table odd: method=bsx is unknown: did you mean bss\? choose bi_tuning"):
        load_table("odd")
    (conf / "table" / "parts.yaml").write_text("data: [digits]\nmethod: [bss]\nseed: [0]\nparts: [l2sp]\n")
    with pytest.raises(UserError, match="table parts: the part l2sp is no row: choose bss"):
        load_table("parts")
    with pytest.raises(UserError, match=r"table both: give either replicate: \[...\] or seed: \[...\]"):
        load_table("both")
