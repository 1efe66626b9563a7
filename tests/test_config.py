"""Configuration: every yaml holds what its target takes, and bad input is refused in one line."""

import importlib
import inspect
import json

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
from cotune_bench.config.tables import load_table
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
        ("seed=-1", "seed=-1 cannot be used: it must be 0 or more"),
        ("force=1", "force=1 cannot be used: it must be true or false"),
        ("device=5", "device=5 cannot be used: it must be text"),
        ("compile=yes", "compile=yes cannot be used: choose none, default, reduce-overhead"),
        ("keep_checkpoint=1", "keep_checkpoint=1 cannot be used: choose true, false, auto"),
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
