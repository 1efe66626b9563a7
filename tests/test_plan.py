"""Plans: sums worked out by hand from a made-up pace, and one real measurement of a tiny network."""

import runpy

import pytest
import torch

from cotune_bench.cli import guarded
from cotune_bench.cli.plan import (
    Item,
    Plan,
    counts_of,
    decoded_bytes,
    makespan,
    measured,
    plan,
    plan_lines,
)
from cotune_bench.config import CONF, compose_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.methods.finetune import FineTune
from cotune_bench.training import timing as pacing
from cotune_bench.training.pace import Counts, Pace

MAIN = runpy.run_path(str(CONF.parent / "scripts" / "plan.py"))["main"]
PACE = Pace(update=2.0, view=0.5, checkpoint=10**9, device="abacus")


def made_up(config, counts) -> Pace:
    return PACE


def test_what_is_missing_is_paid_and_methods_are_timed_once(tmp_path):
    given = [f"results={tmp_path}", f"data_root={tmp_path}", "method=finetune,bss", "rate=0.5,1.0", "seed=0,1"]
    (tmp_path / "records").mkdir()
    key = run_key(compose_config(["data=cub", "method=bss", "rate=0.5", "seed=1", f"results={tmp_path}"]))
    (tmp_path / "records" / f"{key}.json").write_text("only looked for")
    told = []
    found = plan("table2", given, measure=made_up, progress=told.append)
    assert told == ["timing finetune on resnet50, 1 of 6", "timing bss on resnet50, 2 of 6"]
    assert (found.done, found.elsewhere) == (1, 0)
    assert [(item.data, item.method, item.cells) for item in found.items][:3] == [
        ("cub", "finetune", 4),
        ("cub", "bss", 3),
        ("cars", "finetune", 4),
    ]
    # CUB: 1,198 of 5,994 images validate in one view, 5,794 are tested in ten; 9,000 updates
    assert found.items[0].seconds == 9000 * 2 + (1198 + 57_940) * 0.5 == 47_569
    # all images of the three data sets, 256 x 256 x 3 bytes each
    assert sum(item.decoded for item in found.items[::2]) == (11_788 + 16_185 + 10_000) * 196_608
    lines = plan_lines(found, devices=2)
    assert lines[0] == f"table2 in {tmp_path}: 1 cells done, 23 to run"
    disk = next(line for line in lines if line.startswith("disk: "))
    assert disk.startswith("disk: decoded images 7.47 GB, checkpoints 6 GB ")  # two runs of three files of 1 GB
    assert sum("planned with the published numbers" in line for line in lines) == 3


def test_a_table_that_is_done_costs_nothing_and_is_not_timed(tmp_path):
    given = [f"results={tmp_path}", "data=digits", "method=bss", "rate=0.5", "seed=1"]
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / f"{run_key(compose_config(given))}.json").write_text("only looked for")
    assert plan_lines(plan("desk", given)) == [f"desk in {tmp_path}: 1 cells done, 0 to run"]


def test_devices_take_the_next_run_when_they_are_free():
    counts = Counts(2, 8, 2, 4, 1, True, "")
    pace = Pace(update=1.0, view=0.0, checkpoint=0, device="abacus")
    items = [Item("d", "m", cells, updates, pace, 0.0, 0, counts) for cells, updates in ((3, 10), (1, 25))]
    assert makespan(items, 1) == 55
    assert makespan(items, 2) == 35  # 10 + 25 beside 10 + 10
    assert makespan(items, 9) == 25


def test_counts_are_those_on_disk_or_the_published_ones_or_an_error(tmp_path):
    digits = counts_of(compose_config(["data=digits"]))
    assert (digits.classes, digits.train + digits.val, digits.test, digits.told) == (10, 898, 899, "")
    assert decoded_bytes(compose_config(["data=digits"]), digits) == 0
    coco = counts_of(compose_config(["data=coco70", f"data_root={tmp_path}"]))
    assert (coco.classes, coco.train, coco.val, coco.test) == (70, 56_000, 7000, 7000)
    assert "published numbers" in coco.told
    own = compose_config(["data=folder", f"data.root={tmp_path / 'none'}", "protocol=paper"])
    with pytest.raises(UserError, match="none"):
        counts_of(own)


@pytest.mark.parametrize("method", ["cotuning", "delta", "linear_probe", "svm"])
def test_a_real_network_is_timed(method):
    config = compose_config([f"method={method}", "protocol.batch_size=4", "device=cpu"])
    pace = measured(config, counts_of(config))
    assert (pace.update > 0) == (method in ("cotuning", "delta"))  # the others have none
    assert pace.view > 0
    assert pace.checkpoint > 0
    assert pace.device == "cpu, 1 threads"


@pytest.mark.parametrize(("enough", "updates"), [(0.0, 1), (1e9, 11)])
def test_where_updates_are_slow_one_is_enough(monkeypatch, enough, updates):
    calls, forward = [], FineTune.forward
    monkeypatch.setattr(pacing, "SECONDS", enough)
    monkeypatch.setattr(FineTune, "forward", lambda *given: calls.append(1) or forward(*given))
    config = compose_config(["method=finetune", "protocol.batch_size=4", "device=cpu"])
    assert measured(config, counts_of(config)).update > 0
    assert len(calls) == updates


def test_it_is_timed_as_it_will_run(monkeypatch):
    seen, forward = [], FineTune.forward

    def noted(method, batch):
        layout = method.trunk.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
        seen.append((method.precision, layout, method.trunk.recompute))
        return forward(method, batch)

    monkeypatch.setattr(pacing, "SECONDS", 0.0)
    monkeypatch.setattr(FineTune, "forward", noted)
    given = ["method=finetune", "backbone=resnet18", "protocol.batch_size=4", "device=cpu", "precision=bf16"]
    config = compose_config([*given, "protocol.resize=32", "protocol.crop=32", "recompute=always"])
    measured(config, counts_of(config))
    assert seen == [("bf16", True, True)]


@pytest.mark.parametrize(
    ("hours", "told"),
    [(0.1234, "0.123 h"), (72, "72 h"), (96, "96 h (4 days)"), (999.6, "1,000 h (41.6 days)")],
)
def test_hours_are_told_in_three_digits_and_many_in_days(hours, told):
    item = Item("cub", "bss", 1, 1, Pace(hours * 3600, 0.0, 0, "cpu"), 0.0, 0, Counts(2, 8, 2, 4, 1, True, ""))
    assert f"on one device (cpu): {told}" in plan_lines(Plan("t", "r", 0, 0, [item]))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "plan needs one table"),
        (["table=desk", "--devices", "0"], "--devices 0 cannot be used"),
        (["table=desk", "--devices"], "--devices  cannot be used"),
        (["table=desk", "--all"], "--all is no flag"),
        (["table=desc"], "table=desc is unknown"),
    ],
)
def test_bad_input_is_one_line(capsys, monkeypatch, tmp_path, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert guarded(MAIN, arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {told}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
