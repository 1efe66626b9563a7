"""Progress of runs and sweeps: on terminals, in files, and in the overview of a results folder."""

import io
import json
import logging
import os
import re
import socket
import sys

import pytest
from rich.console import Console
from test_status import GONE, put
from toy import toy_record

from cotune_bench import cli
from cotune_bench.config import compose_config, run_config, run_key
from cotune_bench.config.changed import changed
from cotune_bench.reports.overview import overview_lines
from cotune_bench.storage.records import RecordStore
from cotune_bench.training import progress, watch
from cotune_bench.training.progress import RunProgress, progress_bar
from cotune_bench.training.runner import DONE, FAILED, Outcome
from cotune_bench.training.sweeps import _note
from cotune_bench.training.watch import SweepWatch, clear_dead


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_line_has_bar_count_and_time_left_on_terminals_of_any_width(width):
    bar = progress_bar(shown=True)
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    bar.add_task(
        "digits-cotuning-rate0.15-seed100-35b709786f", total=6000, completed=650, shown="ce 0.027 source 6.0"
    )
    console.print(bar.get_renderable())
    (line,) = console.file.getvalue().splitlines()
    assert len(line) <= width
    assert re.search(r"digits-cotuning-ra.*━ +650/6000 .*--:--", line)
    assert ("source 6" in line) == (width >= 80)


def test_a_run_writes_its_log_as_it_goes_and_prints_without_a_terminal(tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setattr(progress, "HEARTBEAT", 0.01)
    monkeypatch.setattr(progress, "LINE", 0.01)
    caplog.set_level(logging.INFO, "cotune_bench")
    with RunProgress(tmp_path, "some-key", compose_config(["protocol.updates=20"]), shown=True) as running:
        running(5, 0.1, {"ce": 2.0})
        running(10, 0.1, {"ce": 1.25})
        running._ended.wait(0.3)
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"some-key 10/20 updates, about \d+ s left: ce 1\.250", line)
    assert caplog.messages[0] == f"begins on {socket.gethostname()}, pid {os.getpid()}: 20 updates"
    assert line == f"some-key {caplog.messages[-1]}"


def test_a_sweep_prints_outcomes_as_they_come_and_a_line_a_minute(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(watch, "LINE", 0.0)
    folder = tmp_path / ".sweeps" / "now"
    with SweepWatch(folder, tmp_path, ["seed=0", "seed=1", "seed=2"]) as sweep:
        _note(Outcome("a", DONE, "first is done"), folder, 0)
        _note(Outcome("b", FAILED, "second \x1b[31mfailed"), folder, 1)
        (folder / "begun2").write_text("third")
        put(tmp_path, "third", "running", done=150)
        sweep._started -= 100  # seconds ago
        sweep._print_outcomes()
        sweep._show()
    out, err = capsys.readouterr()
    assert out.splitlines()[:2] == ["first is done", "2/3 cells, about 20 s left; running: seed=2 50 %"]
    assert err == "second \\x1b[31mfailed\n"
    assert not folder.exists()


def test_a_sweep_on_a_terminal_has_a_line_for_each_running_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    sweep = SweepWatch(tmp_path / "now", tmp_path, ["seed=0", "seed=1", "seed=2"])
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    sweep._bar.live.console = console
    with sweep:
        for number, done in ((1, 30), (2, 60)):
            (tmp_path / "now" / f"begun{number}").write_text(f"key{number}")
            put(tmp_path, f"key{number}", "running", done=done)
        _note(Outcome("a", DONE, "first is done"), tmp_path / "now", 0)
        sweep._started -= 130
        sweep._print_outcomes()
        sweep._show()
        console.print(sweep._bar.get_renderable())
    shown = [line.rpartition("\x1b[2K")[2] for line in console.file.getvalue().splitlines()]
    lines = [line.split() for line in shown if "/3" in line or "seed" in line]
    assert [line[0] for line in lines[-3:]] == ["cells", "seed=1", "seed=2"]
    assert [next(word for word in line if "/" in word) for line in lines[-3:]] == ["1/3", "30/300", "60/300"]


def test_what_a_killed_sweep_left_is_removed_and_a_living_one_stays(tmp_path):
    for name, pid in (("dead", GONE), ("alive", os.getpid())):
        path = tmp_path / ".sweeps" / name / "sweep.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"host": socket.gethostname(), "pid": pid}))
    clear_dead(tmp_path)
    assert [path.name for path in (tmp_path / ".sweeps").iterdir()] == ["alive"]


def test_the_overview_shows_what_runs_what_failed_and_what_finished_last(tmp_path, capsys):
    put(tmp_path, "some-run", "running", done=30, eta_s=200)
    put(tmp_path, "dead-run", "running", pid=GONE)
    put(tmp_path, "bad-run", "failed", reason="ValueError: x\x07\nmore")
    config = compose_config(["method=bss", "method.weight=0.5", "replicate=2", "protocol.updates=60"])
    record = toy_record(key=run_key(config), config=run_config(config))
    RecordStore(tmp_path).add(record)
    lines = overview_lines(tmp_path)
    assert lines == [
        "running now:",
        f"  some-run  30/300 updates, about 3 min left ({socket.gethostname()} pid {os.getpid()})",
        "failed: 1",
        "  bad-run  ValueError: x\\x07",
        "interrupted: 1",
        "  dead-run  its process is gone",
        "finished last:",
        f"  {record.key}  50.00 %  {record.finished[:16]}  method.weight=0.5 protocol.updates=60",
    ]
    one = ["data=digits", "method=bss", "rate=0.15", "replicate=0"]
    assert cli.main(["status", f"results={tmp_path}", "table=desk", *one]) == 0
    assert "running now" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], []),
        (["replicate=3"], []),
        (["backbone.seed=3"], ["backbone.seed=3"]),
        (["seed=3", "split_seed=2"], ["split_seed=2"]),
        (["method=bss", "rate=1.0", "method.weight=0.0001"], []),  # as tuned
        (["method=bss", "rate=1.0", "method.weight=0.001"], ["method.weight=0.001"]),
        (["protocol.drop_at=[100,150]"], ["protocol.drop_at=[100,150]"]),
        (["precision=bf16"], ["protocol.precision=bf16"]),
    ],
)
def test_settings_that_differ_from_the_yaml_files_are_named(overrides, expected):
    assert changed(run_config(compose_config(overrides))) == expected
