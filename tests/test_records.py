"""Records: what is in one, what its key hangs on, and what happens to damaged or contested files."""

import dataclasses
import json
import multiprocessing
import os
import re

import numpy as np
import pandas as pd
import pytest

from cotune_bench.config import compose_config, run_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.reports.frame import to_frame
from cotune_bench.storage import records as module
from cotune_bench.storage.files import check_writable
from cotune_bench.storage.records import COLUMNS, Record, RecordStore, packed, unpacked


def make_record(key: str = "toy-bss-rate0.15-seed0-0123456789", **changes) -> Record:
    values = {
        "key": key,
        "method": "bss",
        "data": "toy",
        "backbone": "tiny",
        "protocol": "desk",
        "rate": 0.15,
        "seed": 0,
        "accuracy": 71.25,
        "nll": 0.1 + 0.2,
        "val_accuracy": None,
        "train_images": 10,
        "test_images": 20,
        "weights": "random",
        "weights_sha256": "ab",
        "data_sha256": "cd",
        "seconds": 1.5,
        "finished": "2024-05-01T10:00:00.000+00:00",
        "config": {"method": {"k": 1}, "seed": 0},
        "environment": {"version": "0.1.0", "torch": "2.15.0", "device": "cpu"},
    }
    return Record(**{**values, **changes})


def text_with(**changes) -> str:
    return json.dumps({**json.loads(make_record().to_json()), **changes})


@pytest.fixture
def store(tmp_path) -> RecordStore:
    return RecordStore(tmp_path / "results")


# Files -------------------------------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was(store):
    record = make_record()
    path = store.add(record)
    assert path == store.path(record.key) == store.folder / f"{record.key}.json"
    assert store.read() == ([record], [])
    assert Record.from_json(record.to_json()) == record
    assert json.loads(path.read_text())["schema"] == 2
    assert [file.name for file in store.folder.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_record_of_schema_1_is_read_without_what_it_lacks(store):
    values = json.loads(make_record().to_json())
    del values["correct"], values["test_sha256"]
    store.folder.mkdir(parents=True)
    store.path(values["key"]).write_text(json.dumps({**values, "schema": 1}))
    assert store.read() == ([make_record(correct="", test_sha256="")], [])


def test_which_images_are_right_comes_back_as_it_was():
    correct = np.array([True, False, False, True, True, False, True, True, True])  # 10011011 1.......: 9b 80
    assert packed(correct) == "m4A="
    assert unpacked("m4A=", 9).tolist() == correct.tolist()
    with pytest.raises(ValueError, match="2 bytes, which are not those of 17 images"):
        unpacked("m4A=", 17)


def test_a_number_that_json_does_not_have_is_never_written(store):
    with pytest.raises(ValueError, match="JSON compliant"):
        store.add(make_record(nll=float("nan")))
    assert list(store.folder.iterdir()) == []


def test_adding_again_changes_nothing(store):
    path = store.add(make_record())
    before = path.read_bytes()
    assert store.add(make_record(accuracy=99.0)) == path
    assert path.read_bytes() == before
    assert list(store.folder.iterdir()) == [path]


def test_on_demand_a_repeated_run_stands_beside_the_first(store):
    names = [store.add(make_record(accuracy=float(place)), again=True).name for place in range(3)]
    key = make_record().key
    assert names == [f"{key}.json", f"{key}~2.json", f"{key}~3.json"]
    records, damaged = store.read()
    assert [record.accuracy for record in records] == [0, 1, 2]
    assert damaged == []
    assert store.add(make_record(accuracy=9.0)) == store.path(key)


def test_without_hard_links_a_record_is_kept_all_the_same(store, monkeypatch):
    def refuse(*_names):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = store.add(make_record())
    store.add(make_record(accuracy=99.0))
    assert store.read()[0] == [make_record()]
    assert list(store.folder.iterdir()) == [path]


def test_reading_takes_the_wanted_keys_in_order_of_key_and_time(store):
    early, late = "2024-05-01T10:00:00+00:00", "2024-05-02T10:00:00+00:00"
    store.add(make_record("b"))
    store.add(make_record("c"))
    store.add(make_record("a", finished=late), again=True)
    store.add(make_record("a", finished=early), again=True)
    assert [(record.key, record.finished) for record in store.read(["c", "a", "missing"])[0]] == [
        ("a", early),
        ("a", late),
        ("c", make_record().finished),
    ]
    assert len(store.read()[0]) == 4
    assert store.read([]) == ([], [])


def test_an_absent_folder_holds_no_records(store):
    assert store.read() == ([], [])
    assert not store.results.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "Expecting value"),
        (make_record().to_json()[:-30], "Expecting|Unterminated"),
        ("[1]", "it is not a JSON object"),
        (text_with(schema=3), "its schema is 3, this version reads 1 to 2"),
        (text_with(correct="AAA="), "its correct holds 2 bytes, which are not those of 20 images"),
        (text_with(correct="?"), "base64"),
        (text_with(test_sha256=None), "its test_sha256 is None"),
        (text_with(schema=None), "its schema is None"),
        (text_with(surprise=1), "it holds the unknown surprise"),
        (text_with(accuracy="71"), "its accuracy is '71'"),
        (text_with(accuracy=True), "its accuracy is True"),
        (text_with(accuracy=None), "its accuracy is None"),
        (text_with(seed=0.5), "its seed is 0.5"),
        (text_with(val_accuracy="x"), "its val_accuracy is 'x'"),
        (text_with(method=None), "its method is None"),
        (text_with(finished=5), "its finished is 5"),
        (text_with(environment=[]), r"its environment is \[\]"),
        (text_with(config="x"), "its config is 'x'"),
        (text_with(accuracy=float("nan")), "it holds NaN, which is no number"),
        (text_with(key="other"), "it belongs to other"),
    ],
)
def test_a_damaged_file_is_named_and_left_and_the_rest_is_read(store, content, told):
    good = make_record("good")
    store.add(good)
    path = store.path(make_record().key)
    path.write_text(content)
    records, (line,) = store.read()
    assert records == [good]
    assert line.startswith(f"{path} cannot be read and is left out: ")
    assert "\n" not in line
    assert re.search(told, line)
    assert path.read_text() == content
    csv, damaged = store.refresh()
    assert damaged == [line]
    assert pd.read_csv(csv)["key"].tolist() == ["good"]


def test_missing_fields_are_named():
    values = json.loads(make_record().to_json())
    del values["nll"], values["data"], values["correct"]
    with pytest.raises(ValueError, match="it lacks correct, data, nll"):
        Record.from_json(json.dumps(values))


def test_bytes_that_are_no_text_are_named(store):
    store.add(make_record("good"))
    store.path("bad").write_bytes(b"\xff\xfe{")
    (store.folder / "folder.json").mkdir()
    records, damaged = store.read()
    assert [record.key for record in records] == ["good"]
    assert [line.partition(" cannot")[0] for line in damaged] == [
        str(store.path("bad")),
        str(store.path("folder")),
    ]


def test_temporary_files_of_a_killed_writer_are_not_read(store):
    store.add(make_record())
    (store.folder / ".abc.part").write_text("{")
    (store.folder / ".hidden.json").write_text("{")
    assert store.read() == ([make_record()], [])


def _write(results: str, barrier, accuracy: float) -> None:
    store = RecordStore(results)
    barrier.wait()
    for _ in range(5):
        store.add(make_record(accuracy=accuracy))


def test_of_several_writers_of_one_key_exactly_one_wins_whole(store):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    writers = [context.Process(target=_write, args=(store.results, barrier, float(n))) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0] * 4
    (record,), damaged = store.read()
    assert record in [make_record(accuracy=float(n)) for n in range(4)]
    assert damaged == []
    assert list(store.folder.iterdir()) == [store.path(record.key)]


# results.csv -------------------------------------------------------------------------------------------------------


def test_results_csv_is_the_same_bytes_whatever_the_order_of_writing(tmp_path):
    contents = []
    for place, order in enumerate((("a", "b", "c"), ("c", "a", "b"))):
        store = RecordStore(tmp_path / str(place))
        for key in order:
            store.add(make_record(key))
        path, _ = store.refresh()
        contents.append(path.read_bytes())
        store.refresh()
        assert path.read_bytes() == contents[-1]
        assert path == tmp_path / str(place) / "results.csv"
    assert contents[0] == contents[1]


def test_results_csv_holds_every_digit(store):
    store.add(make_record())
    header, row = store.refresh()[0].read_text().splitlines()
    assert header.split(",") == COLUMNS
    told = dict(zip(COLUMNS, row.split(","), strict=True))
    assert told["nll"] == "0.30000000000000004"
    assert told["val_accuracy"] == ""
    assert (told["version"], told["torch"], told["device"]) == ("0.1.0", "2.15.0", "cpu")


def keys_in(table) -> list[str]:
    return pd.read_csv(table)["key"].tolist()


def test_a_new_record_adds_its_row_without_a_look_at_the_others(store, monkeypatch):
    store.add(make_record("b"))
    monkeypatch.setattr(module, "_load", None)
    store.add(make_record("c", method='a "quoted", name'))
    store.add(make_record("a", val_accuracy=1e-20), again=True)
    store.add(make_record("a", accuracy=100), again=True)
    store.add(make_record("b", accuracy=99.0))
    assert keys_in(store.table) == ["b", "c", "a", "a"]
    assert (store.listed("c"), store.listed("d")) == (True, False)
    monkeypatch.undo()
    added = store.table.read_text().splitlines()
    assert added[0] == ",".join(COLUMNS)
    made = store.refresh()[0].read_text().splitlines()
    assert sorted(added[1:]) == sorted(made[1:])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: "",
        lambda text: text.replace("backbone", "network"),
        lambda text: text.partition("\n")[0],
    ],
)
def test_a_table_that_is_not_whole_is_made_anew_with_the_next_record(store, damage):
    store.add(make_record("b"))
    store.table.write_text(damage(store.table.read_text()))
    store.add(make_record("a"))
    assert keys_in(store.table) == ["a", "b"]


def test_a_record_that_appears_while_the_table_is_made_is_in_it(store, monkeypatch):
    store.add(make_record("b"))
    write, late = module.write_atomically, ["a", "c"]

    def meanwhile(path, content):
        if late:
            store.add(make_record(late.pop()))  # its row goes to the file that is about to be replaced
        write(path, content)

    monkeypatch.setattr(module, "write_atomically", meanwhile)
    store.refresh()
    assert keys_in(store.table) == ["a", "b", "c"]


def test_a_record_is_safe_whatever_befalls_its_row(store):
    store.results.mkdir()
    store.table.mkdir()
    store.add(make_record())
    assert store.read() == ([make_record()], [])


def test_the_environment_cannot_overwrite_a_result():
    frame = to_frame([make_record(environment={"accuracy": 100, "torch": "x"})])
    assert frame["accuracy"].tolist() == [71.25]
    assert frame["device"].isna().all()


def test_no_records_make_a_table_of_no_rows(store):
    assert store.refresh()[0].read_text() == ",".join(COLUMNS) + "\n"


# Where results go --------------------------------------------------------------------------------------------------


def test_a_folder_that_could_be_made_is_writable_and_stays_unmade(tmp_path):
    check_writable(tmp_path / "new" / "results")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "/deeper/still"])
def test_a_file_is_no_results_folder(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"results=.*file.* cannot be written .*is not a folder"):
        check_writable(tmp_path / f"file{below}")
    assert (tmp_path / "file").read_text() == "mine"


# Keys --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key() -> str:
    return run_key(compose_config(["method=bss"]))


def test_a_key_is_readable_and_repeatable(key):
    assert key.startswith("digits-bss-rate0.15-seed0-")
    assert len(key.rpartition("-")[2]) == 10
    assert run_key(compose_config(["method=bss", "rate=0.15", "seed=0"])) == key


@pytest.mark.parametrize(
    "change",
    [
        "method.weight=0.002",
        "method.k=2",
        "rate=0.3",
        "seed=1",
        "split_seed=1",
        "protocol.updates=301",
        "protocol.drop_at=[201]",
        "protocol.val=0.1",
        "protocol.flip=true",
        "protocol.lr=0.030001",
        "protocol.split_order=sample_then_split",
    ],
)
def test_what_defines_the_result_changes_the_key(key, change):
    assert run_key(compose_config(["method=bss", change])) != key


def test_every_value_of_protocol_method_and_backbone_is_in_the_defining_part():
    config = compose_config(["method=cotuning"])
    defining = run_config(config)
    for group in ("method", "protocol", "backbone", "data"):
        left_out = set(config[group]) - set(defining[group])
        assert left_out <= {"threads", "root", "tune", "relationship_split"}  # the last has no effect here


@pytest.mark.parametrize(
    "change",
    ["results=elsewhere", "cache=elsewhere", "device=cpu", "force=true", "protocol.threads=3", "checkpoint_every=7"],
)
def test_paths_and_machines_do_not_change_the_key(key, change):
    assert run_key(compose_config(["method=bss", change])) == key


@pytest.mark.parametrize(("whole", "float_"), [("rate=1", "rate=1.0"), ("protocol.lr=1", "protocol.lr=1.0")])
def test_a_number_is_the_same_however_it_is_written(whole, float_):
    assert run_key(compose_config(["method=bss", whole])) == run_key(compose_config(["method=bss", float_]))


def test_fields_of_a_record_can_not_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_record().accuracy = 100
