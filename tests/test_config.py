"""Configuration: every yaml holds what its target takes, bad input is refused in one line, tables name runs."""

import importlib
import inspect
import json
from itertools import product

import pytest
import yaml
from omegaconf import OmegaConf
from trees import folders

from cotune_bench.config import (
    CONF,
    axes,
    build,
    check_sweep,
    choices,
    compose_config,
    key_of,
    reader,
    run_config,
    run_key,
    upgraded,
)
from cotune_bench.config.protocol import Protocol
from cotune_bench.config.tables import load_table, table_cells, table_overrides, table_sweeps
from cotune_bench.errors import UserError

#: What the caller of each group's target gives beside the yaml's values.
GIVEN = {"method": ("backbone", "num_classes", "head_init"), "data": ("name", "root"), "backbone": ("name", "cache")}


def sections(group: str) -> list[str]:
    return [f"{group}={name}" for name in choices(group)]


def read_yaml(group: str, name: str) -> dict:
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "choice", [*sections("method"), *sections("data"), *sections("backbone"), *sections("protocol")]
)
def test_every_choice_composes_and_bears_its_file_s_name_and_its_key_depends_on_no_place_of_code(choice, tmp_path):
    group, _, name = choice.partition("=")
    root = [f"data_root={folders(tmp_path, {'folder/cat': 2, 'folder/dog': 2})}"] if name == "folder" else []
    config = compose_config([choice, *root])
    assert config[group].name == name
    assert run_key(config)
    assert "cotune_bench" not in json.dumps(run_config(config))


@pytest.mark.parametrize("choice", [*sections("method"), *sections("data"), *sections("backbone")])
def test_every_target_is_in_the_package_and_takes_exactly_the_yaml_s_values(choice):
    group, _, name = choice.partition("=")
    values = read_yaml(group, name)
    for default in values.pop("defaults", ()) if group == "method" else ():  # further backbones
        values |= {key.partition("@")[2].partition(".")[0]: default for key in default}
    values.pop("defaults", None)
    if group == "data":
        taken = inspect.signature(reader(OmegaConf.create({"reader": values.pop("reader")})).read).parameters
    else:
        module, _, attribute = values.pop("_target_").rpartition(".")
        assert module.startswith("cotune_bench.")
        taken = inspect.signature(getattr(importlib.import_module(module), attribute)).parameters
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    assert set(values.pop("tune", ())) <= set(values)  # a grid names the method's own values
    assert set(values) - {"name"} <= set(taken)
    wanted = {key for key in taken if group == "method" or taken[key].default is inspect.Parameter.empty}
    assert wanted - set(values) <= set(GIVEN[group])  # a method's defaults are all in its yaml


@pytest.mark.parametrize("name", choices("protocol"))
def test_a_protocol_s_yaml_holds_every_value(name):
    values = read_yaml("protocol", name)
    assert set(values) == set(inspect.signature(Protocol).parameters)
    assert values["precision"] == "${precision}"  # a setting of its own


@pytest.mark.parametrize("name", choices("table"))
def test_every_table_loads_with_its_four_axes(name):
    table = load_table(name)
    for axis in ("data", "method", "rate", "replicate" if "replicate" in table else "seed"):
        assert len(table[axis]) == len(set(table[axis])) > 0
    assert table["title"]


def test_a_configuration_can_not_be_changed_by_accident():
    with pytest.raises(Exception, match="read-only"):
        compose_config([]).rate = 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method=cotunning", "method=cotunning is unknown: did you mean cotuning? choose bi_tuning, bitfit,"),
        ("data=zzz", "data=zzz is unknown: choose "),
        ("table=dsek", "table=dsek is unknown: did you mean desk? choose "),
        ("method=null", "method=None is unknown: choose "),
        ("~method", "~method cannot be used: "),
        ("rat=0.5", "rat is not a setting: did you mean rate?"),
        ("lr=0.1", "lr is not a setting: did you mean protocol.lr?"),
        ("=5", "=5 cannot be used: settings are given as name=value"),
        (
            "hydra.job.chdir=true",
            "chdir=true cannot be used: settings are given as name=value, and of Hydra",
        ),
        ("+hydra.callbacks.e={_target_: os.mkdir, path: x}", "path: x} cannot be used: "),
        ("data=my/pictures", "data=my/pictures is no data set: data=folder data.root=my/pictures"),
        ("device=meta", "device=meta cannot be used"),
        ("protocol.momentum=2", "protocol.momentum=2 cannot be used: it must be below 1"),
        ("method.trade_of=1", "method.trade_of is not a setting: did you mean method.trade_off?"),
        (
            "method.k=1",
            "method.k is not a setting of method=cotuning, but of bss, last_k, spottune_global: leave it out",
        ),
        ("data.crop_banner=true", "data.crop_banner is not a setting of data=digits, but of aircraft: leave it out"),
        ("rate=0", "rate=0 cannot be used: it is a share"),
        ("rate=abc", "rate=abc cannot be used: it must be a number"),
        ("rate=[0.15,0.3]", "rate=[0.15,0.3] cannot be used: it must be a number"),
        ("seed=-1", "seed=-1 cannot be used: it must be 0 or more"),
        ("seed=1.0", "seed=1.0 cannot be used: it must be a whole number"),
        ("force=1", "force=1 cannot be used: it must be true or false"),
        ("device=5", "device=5 cannot be used: it must be text"),
        ("compile=yes", "compile=yes cannot be used: choose none, default, reduce-overhead"),
        ("keep_checkpoint=1", "keep_checkpoint=1 cannot be used: choose true, false, auto"),
        ("keep_checkpoint=null", "cannot be used: choose true, false, auto"),
        ("method.trade_off=inf", "method.trade_off=inf cannot be used: it must be a number"),
        ("protocol.updates=0", "protocol.updates=0 cannot be used: it must be above 0"),
        ("protocol.updates=2.5", "protocol.updates=2.5 cannot be used: it must be a whole number"),
        ("protocol.val=1", "protocol.val=1 cannot be used: it must be in [0, 0.9]"),
        ("protocol.crop=9", "protocol.crop=9 cannot be used: it must be at most resize=8"),
        ("protocol.drop_at=3", "protocol.drop_at=3 cannot be used: it must be a list [a,b]"),
        ("protocol.drop_at=[0]", "it must be a list of numbers above 0"),
        ("protocol.momentum=0", "protocol.nesterov=True cannot be used: it must be false where momentum is 0"),
        ("protocol.views=five", "protocol.views=five cannot be used: it must be one of center, official10"),
        ("protocol.threads=abc", "protocol.threads=abc cannot be used: it must be a whole number or null"),
        ("results=${nowhere}", "Interpolation key 'nowhere' not found"),
        ("hydra/launcher=slurn", "hydra/launcher=slurn is unknown: did you mean slurm? choose basic,"),
        ("table=desk", "table=desk has no place here: run, status, plan and tables take it"),
        ("results=", "results= cannot be used: name a folder"),
        ("rate", "rate cannot be read: settings are given as name=value"),
        ("rate=0.1=[", "rate=0.1=[ cannot be read: settings"),
        ("data.name=mine", "data.name=mine cannot be used: choose a yaml file with data=NAME instead"),
        ("replicate=first", "replicate=first cannot be used: it must be a whole number or null"),
        ("jobs=0", "jobs=0 cannot be used: it must be 1 or more"),
    ],
)
def test_bad_input_is_refused_in_one_line(override, message):
    with pytest.raises(UserError) as caught:
        compose_config([override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_good_values_are_not_refused():
    config = compose_config(
        ["method=bss", "rate=1", "protocol.drop_at=[]", "protocol.lr=1", "method.weight=0", "results=some where"]
    )
    assert (config.rate, config.protocol.lr, config.method.weight) == (1, 1, 0)
    assert list(config.protocol.drop_at) == []
    assert config.results == "some where"


@pytest.mark.parametrize("target", ["os.system", "cotune_benchmark.run"])
def test_only_the_package_is_ever_called_from_a_yaml(target):
    with pytest.raises(UserError, match=f"_target_={target} is outside cotune_bench"):
        build(OmegaConf.create({"_target_": target}))
    with pytest.raises(UserError, match="choose a yaml file with method=NAME instead"):
        compose_config([f"method._target_={target}"])


@pytest.mark.parametrize("target", ["cotune_bench.nowhere.read", "cotune_bench.data.readers.digits.write"])
def test_a_target_that_does_not_exist_is_named(target):
    with pytest.raises(UserError, match=f"{target} does not exist"):
        build(OmegaConf.create({"_target_": target}))


def test_threads_may_be_null_or_a_number():
    assert compose_config(["protocol.threads=null"]).protocol.threads is None
    for protocol in ("desk", "paper"):  # 1 and null in their yaml
        assert compose_config([f"protocol={protocol}", "protocol.threads=2"]).protocol.threads == 2


def test_a_yaml_that_does_not_fit_its_target_is_named():
    with pytest.raises(UserError, match=r"reader digits: missing a required argument: 'name'"):
        build(compose_config([]).data, drop=["name", "tune"])
    with pytest.raises(UserError, match=r"reader digits: got an unexpected keyword argument 'more'"):
        build(compose_config([]).data, more=1)


@pytest.mark.parametrize(
    ("relationship", "setting", "same"),
    [
        ("reverse", "method.relationship_split=train+val", True),
        ("direct", "method.relationship_split=train+val", False),
        ("reverse", "method.select=cv", False),
        ("direct", "method.select=cv", True),
    ],
)
def test_what_another_setting_turns_off_is_not_in_the_key(relationship, setting, same):
    given = ["method=cotuning", f"method.relationship={relationship}", "method.calibrate=source"]
    plain, other = (run_key(compose_config(overrides)) for overrides in (given, [*given, setting]))
    assert (plain == other) == same


def test_axes_of_a_sweep():
    assert axes(["seed=0,1", "rate=0.5", "method=bss,l2sp", "split_seed=range(2)"]) == [
        ["seed=0", "seed=1"],
        ["rate=0.5"],
        ["method=bss", "method=l2sp"],
        ["split_seed=0", "split_seed=1"],
    ]
    assert check_sweep(["seed=0,1,2", "rate=0.5", "method=bss,l2sp"]) == 6
    assert check_sweep(["replicate=range(0,10)"]) == 10


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=finetune,bsss", "seed=0"], "method=bsss is unknown: did you mean bss?"),
        (["seed=0,1,-1"], "seed=-1 cannot be used"),
        (["method=bss,finetune", "method.k=1"], "method.k is not a setting"),
    ],
)
def test_every_value_of_a_sweep_is_checked_before_it_starts(overrides, message):
    with pytest.raises(UserError, match=message):
        check_sweep(overrides)


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


@pytest.mark.parametrize("data", ["digits", "cub"])
def test_a_replicate_sets_three_seeds_and_is_not_part_of_the_key(data):
    source = ["backbone.seed=3"] if data == "digits" else []
    config = compose_config([f"data={data}", "replicate=3"])
    assert (config.seed, config.split_seed) == (3, 3)
    assert run_key(config) == run_key(compose_config([f"data={data}", "seed=3", "split_seed=3", *source]))
    usual = compose_config([f"data={data}", "replicate=null", "seed=3"])
    assert (usual.seed, usual.split_seed) == (3, 0)


@pytest.mark.parametrize("given", ["seed=2", "split_seed=1", "backbone.seed=1"])
def test_a_replicate_is_refused_beside_the_seeds_that_it_sets(given):
    expected = rf"^{given} cannot be used beside replicate=1, which sets it: leave one of them out$"
    with pytest.raises(UserError, match=expected):
        compose_config(["replicate=1", given])


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


def test_an_older_configuration_gets_the_key_of_today_s():
    today = run_config(compose_config(["method=cotuning", "data=cub", "backbone=resnet50"]))
    older = json.loads(json.dumps(today))
    older["method"] |= {"_target_": "cotune_bench.methods.cotuning.CoTuning", "relationship_split": "train"}
    older["data"] |= {"_target_": "cotune_bench.data.readers.cub.read"}
    older["backbone"] |= {"_target_": "cotune_bench.backbones.torchvision.load"}
    del older["method"]["select"], older["data"]["reader"]
    assert upgraded(today) == today
    assert key_of(upgraded(older)) == key_of(today)
    assert key_of(today) != key_of({**today, "method": {**today["method"], "select": "cv"}})
