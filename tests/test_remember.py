"""What is remembered is made anew when anything behind it changes."""

import pytest

from cotune_bench.remember import remembered


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Asks for a value with these inputs; tells whether it was worked out, and the value."""
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    file, calls = tmp_path / "table.yaml", []
    file.write_text("a: 1")

    def ask(inputs: object) -> tuple[bool, dict]:
        before = len(calls)
        found = remembered("cells", inputs, [file], lambda: calls.append(1) or {"keys": [len(calls)]})
        return len(calls) > before, found

    ask.file, ask.folder = file, tmp_path / "cache" / "cells"
    return ask


def test_it_is_worked_out_once(asked):
    assert asked(["rate=1"]) == (True, {"keys": [1]})
    assert asked(["rate=1"]) == (False, {"keys": [1]})


def test_other_inputs_files_and_places_are_worked_out_anew(asked, monkeypatch):
    asked(["rate=1"])
    assert asked(["rate=0.5"])[0]
    asked.file.write_text("a: 2")
    assert asked(["rate=1"])[0]
    monkeypatch.setenv("COTUNE_DATA", "elsewhere")
    assert asked(["rate=1"])[0]


def test_a_damaged_file_is_made_anew(asked):
    asked(["rate=1"])
    (path,) = asked.folder.glob("*.json")
    path.write_text('{"keys": [')
    assert asked(["rate=1"]) == (True, {"keys": [2]})
    assert asked(["rate=1"])[0] is False


def test_a_cache_that_cannot_be_written_costs_time_alone(asked):
    asked.folder.parent.write_text("a file in the folder's place")
    assert asked(["rate=1"]) == (True, {"keys": [1]})
    assert asked(["rate=1"]) == (True, {"keys": [2]})
