"""Records: their contents, what their keys depend on, and what happens to damaged or contested files."""

import hashlib
import json
import multiprocessing
import os
import re

import numpy as np
import pandas as pd
import pytest
from toy import toy_record

from cotune_bench.config import compose_config, run_config, run_key
from cotune_bench.reports.frame import to_frame
from cotune_bench.storage import records as module
from cotune_bench.storage.files import check_writable, digest
from cotune_bench.storage.records import COLUMNS, Record, RecordStore, packed, unpacked


def make_record(key: str = "toy-bss-rate0.15-seed0-0123456789", **changes) -> Record:
    return toy_record(**{"key": key, "nll": 0.1 + 0.2, "test_images": 20, **changes})


def text_with(*lacking: str, **changes) -> str:
    """A record's text with other values, as if it had been written with them."""
    values = {**json.loads(make_record().to_json()), **changes}
    values = {name: value for name, value in values.items() if name not in ("sha256", *lacking)}
    content = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return json.dumps({**values, "sha256": hashlib.sha256(content.encode()).hexdigest()})


LACKING = text_with("correct", "metrics")


@pytest.fixture
def store(tmp_path) -> RecordStore:
    return RecordStore(tmp_path / "results")


def test_a_record_comes_back_as_it_was(store):
    record = make_record()
    path = store.add(record)
    assert path == store.path(record.key) == store.folder / f"{record.key}.json"
    assert store.read() == ([record], [])
    assert Record.from_json(record.to_json()) == record
    assert json.loads(path.read_text())["schema"] == 5
    assert [file.name for file in store.folder.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("validation", [{}, {"accuracy": 60.0}])
@pytest.mark.parametrize("schema", [1, 2])
def test_records_of_schema_1_and_2_are_read(store, schema, validation):
    values = json.loads(make_record(correct="", test_sha256="", validation=validation).to_json())
    older = {**values, **values.pop("metrics"), "val_accuracy": values.pop("validation").get("accuracy")}
    for name in ("sha256", "metrics", "validation", "primary", *(("correct", "test_sha256") if schema == 1 else ())):
        older.pop(name, None)
    store.folder.mkdir(parents=True)
    store.path(values["key"]).write_text(json.dumps({**older, "schema": schema}))
    assert store.read() == ([make_record(correct="", test_sha256="", validation=validation)], [])


def test_records_of_schema_3_are_read(store):
    values = {**json.loads(make_record().to_json()), "schema": 3}
    del values["sha256"]
    store.folder.mkdir(parents=True)
    store.path(values["key"]).write_text(json.dumps(values))
    assert store.read() == ([make_record()], [])


def test_records_of_schema_4_are_read_by_their_own_hash(store):
    values = json.loads(make_record().to_json())
    for name in ("sha256", "costs"):
        del values[name]
    values["schema"] = 4
    store.folder.mkdir(parents=True)
    path = store.path(values["key"])
    path.write_text(json.dumps({**values, "sha256": digest(values)}))
    assert store.read() == ([make_record()], [])
    path.write_text(json.dumps({**values, "seconds": 1e6, "sha256": digest(values)}))
    assert "its content has changed" in store.read()[1][0]


def test_which_images_are_right_comes_back_as_it_was():
    correct = np.array([True, False, False, True, True, False, True, True, True])  # 10011011 1.......: 9b 80
    assert packed(correct) == "m4A="
    assert unpacked("m4A=", 9).tolist() == correct.tolist()
    with pytest.raises(ValueError, match="2 bytes, not those of 17 images"):
        unpacked("m4A=", 17)


def test_a_number_that_json_does_not_have_is_never_written(store):
    with pytest.raises(ValueError, match="JSON compliant"):
        store.add(make_record(nll=float("nan")))
    assert not store.folder.exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_record_never_changes_and_a_forced_run_is_numbered(store, monkeypatch, links):
    def refuse(*_names):
        raise PermissionError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    key = make_record().key
    names = [store.add(make_record(accuracy=float(place)), again=True).name for place in range(3)]
    assert names == [f"{key}.json", f"{key}~2.json", f"{key}~3.json"]
    assert store.add(make_record(accuracy=9.0)) == store.path(key)
    records, damaged = store.read()
    assert [record.accuracy for record in records] == [0, 1, 2]
    assert damaged == []
    assert sorted(path.name for path in store.folder.iterdir()) == names


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
    assert store.read([]) == RecordStore(store.results / "none").read() == ([], [])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "Expecting value"),
        (make_record().to_json()[:-30], "Expecting|Unterminated"),
        ("[1]", "it is not a JSON object"),
        (text_with(schema=6), "its schema is 6, this version reads 1 to 5"),
        (
            make_record().to_json().replace('"seed": 0', '"seed": 1', 1),
            "its content has changed since it was",
        ),
        (text_with(metrics={"accuracy": 400.0}), "its accuracy is 400.0"),
        (text_with(metrics={"accuracy": -5.0}), "its accuracy is -5.0"),
        (text_with(costs={"test_macs": "many"}), "its test_macs is 'many'"),
        (text_with(metrics={"accuracy": 50.0, "nll": 7}).replace("7", "1e999"), "Out of range float values"),
        (text_with(correct="AAA="), "its correct contains 2 bytes, not those of 20 images"),
        (text_with(correct="?"), "base64"),
        (text_with(surprise=1), "it contains the unknown surprise"),
        (text_with(metrics={"accuracy": "71"}), "its accuracy is '71'"),
        (text_with(validation={"accuracy": True}), "its accuracy is True"),
        (text_with(seed=0.5), "its seed is 0.5"),
        (text_with(environment=[]), r"its environment is \[\]"),
        (text_with(metrics={"accuracy": float("nan")}), "it contains NaN, which JSON does not allow"),
        (text_with(metrics={"nll": 1.0}), "its metrics lack accuracy"),
        (text_with(key="other"), "it belongs to other"),
        (LACKING, "it lacks correct, metrics"),
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


def test_what_is_no_text_and_no_file_is_named_and_temporary_files_are_not_read(store):
    store.add(make_record())
    for name in (".abc.part", ".hidden.json"):  # of a killed writer
        (store.folder / name).write_text("{")
    assert store.read() == ([make_record()], [])
    store.path("bad").write_bytes(b"\xff\xfe{")
    store.path("folder").mkdir()
    bad = [str(store.path("bad")), str(store.path("folder"))]
    assert [line.partition(" cannot")[0] for line in store.read()[1]] == bad


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


def test_results_csv_is_sorted_and_contains_every_digit(store):
    assert store.refresh()[0].read_text() == ",".join(COLUMNS) + "\n"
    for key in ("c", "a", "b"):
        store.add(make_record(key))
    header, row, *rest = store.refresh()[0].read_text().splitlines()
    assert [line[:2] for line in (row, *rest)] == ["a,", "b,", "c,"]
    assert header.split(",") == COLUMNS
    told = dict(zip(COLUMNS, row.split(","), strict=True))
    assert told["nll"] == "0.30000000000000004"
    assert told["val_accuracy"] == ""
    assert (told["version"], told["torch"], told["device"]) == ("0.1.0", "2.15.0", "cpu")


def test_a_record_that_appears_while_the_table_is_made_is_in_it(store, monkeypatch):
    store.add(make_record("b"))
    write, late = module.write_atomically, ["a", "c"]

    def meanwhile(path, content):
        if late:
            store.add(make_record(late.pop()))
        write(path, content)

    monkeypatch.setattr(module, "write_atomically", meanwhile)
    assert pd.read_csv(store.refresh()[0])["key"].tolist() == ["a", "b", "c"]


def test_the_environment_cannot_overwrite_a_result():
    frame = to_frame([make_record(environment={"accuracy": 100, "torch": "x"})])
    assert frame["accuracy"].tolist() == [50.0]
    assert frame["device"].isna().all()


def test_a_folder_that_could_be_made_is_writable_and_stays_unmade(tmp_path):
    check_writable(tmp_path / "new" / "results")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def key() -> str:
    return run_key(compose_config(["method=bss"]))


@pytest.mark.parametrize(
    "change",
    ["method.k=2", "rate=0.3", "seed=1", "split_seed=1", "protocol.drop_at=[201]", "protocol.lr=0.030001"],
)
def test_what_defines_the_result_changes_the_key(key, change):
    assert run_key(compose_config(["method=bss", change])) != key


def test_every_value_of_protocol_method_and_backbone_is_in_the_defining_part():
    config = compose_config(["method=cotuning"])
    defining = run_config(config)
    for group in ("method", "protocol", "backbone", "data"):
        left_out = set(config[group]) - set(defining[group])
        # relationship_split has no effect here
        assert left_out <= {"_target_", "threads", "root", "tune", "relationship_split"}


@pytest.mark.parametrize(
    "change",
    [
        *("results=elsewhere", "cache=elsewhere", "device=cpu", "force=true", "jobs=3", "protocol.threads=3"),
        *("keep_checkpoint=true", "rate=0.15"),
    ],
)
def test_paths_and_machines_do_not_change_the_key(key, change):
    assert key.startswith("digits-bss-rate0.15-seed0-")
    assert run_key(compose_config(["method=bss", change])) == key


@pytest.mark.parametrize(("whole", "float_"), [("rate=1", "rate=1.0"), ("protocol.lr=1", "protocol.lr=1.0")])
def test_a_number_is_the_same_however_it_is_written(whole, float_):
    assert run_key(compose_config(["method=bss", whole])) == run_key(compose_config(["method=bss", float_]))
