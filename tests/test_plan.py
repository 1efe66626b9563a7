"""Plans: sums worked out on paper from a made-up pace, and real measurements of a tiny network."""

import pytest
import torch

from cotune_bench.cli.plan import Cost, Item, cost_of, counts_of, items_of, plan_lines
from cotune_bench.config import compose_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.methods.finetune import FineTune
from cotune_bench.reports.status import table_status
from cotune_bench.training import timing
from cotune_bench.training.pace import Pace


def test_missing_cells_are_paid_and_methods_are_timed_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(timing, "measure", lambda config, counts: Pace(2.0, 0.5, 10**9, "abacus"))
    given = [f"results={tmp_path}", f"data_root={tmp_path}", "method=finetune,bss", "rate=0.5,1.0", "seed=0,1"]
    (tmp_path / "records").mkdir()
    key = run_key(compose_config(["data=cub", "method=bss", "rate=0.5", "seed=1", f"results={tmp_path}"]))
    (tmp_path / "records" / f"{key}.json").write_text("only looked for")
    table = table_status("table2", given)
    items = items_of(table)
    assert capsys.readouterr().err == "timing finetune on resnet50\ntiming bss on resnet50\n"
    assert [(item.data, item.method, item.cells) for item in items][:3] == [
        ("cub", "finetune", 4),
        ("cub", "bss", 3),
        ("cars", "finetune", 4),
    ]
    # CUB: 1,198 of 5,994 images validate in one view, 5,794 are tested in ten; 9,000 updates
    assert items[0].cost.seconds == 9000 * 2 + (1198 + 57_940) * 0.5 == 47_569
    # all images of the three data sets, 256 x 256 x 3 bytes each
    assert sum(item.cost.decoded for item in items[::2]) == (11_788 + 16_185 + 10_000) * 196_608
    lines = plan_lines(table, items, devices=2)
    assert lines[0] == f"table2 in {tmp_path}: 1 cells done, 23 to run"
    disk = next(line for line in lines if line.startswith("disk: "))
    assert disk.startswith("disk: decoded images 7.47 GB, checkpoints 6 GB ")  # two runs of three files of 1 GB
    assert sum("planned with the published numbers" in line for line in lines) == 3


def test_a_finished_table_costs_nothing_and_is_not_timed(tmp_path, ask):
    given = [f"results={tmp_path}", "data=digits", "method=bss", "rate=0.5", "seed=1"]
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / f"{run_key(compose_config(given))}.json").write_text("only looked for")
    assert ask("plan", "table=desk", *given) == (0, f"desk in {tmp_path}: 1 cells done, 0 to run\n", "")


def test_several_devices_share_the_runs_but_none_takes_less_than_one(tmp_path):
    table = table_status("desk", [f"results={tmp_path}", "data=digits", "method=bss", "rate=0.15", "replicate=0"])
    pace = Pace(1.0, 0.0, 0, "abacus")
    items = [Item("d", "m", cells, Cost(updates, pace, 0.0)) for cells, updates in ((3, 1000), (1, 2500))]
    for devices, line in ((1, "on one device (abacus): 92 min"), (2, "on 2 such devices: 46 min")):
        assert any(text.startswith(line) for text in plan_lines(table, items, devices))
    assert any(text.startswith("on 9 such devices: 42 min") for text in plan_lines(table, items, 9))


def test_counts_are_those_on_disk_or_the_published_ones_or_an_error(tmp_path):
    digits = counts_of(compose_config(["data=digits"]))
    assert (digits.classes, digits.train + digits.val, digits.test, digits.note) == (10, 898, 899, "")
    assert digits.fitting  # nothing is decoded
    coco = counts_of(compose_config(["data=coco70", f"data_root={tmp_path}"]))
    assert (coco.classes, coco.train, coco.val, coco.test) == (70, 56_000, 7000, 7000)
    assert "published numbers" in coco.note
    own = compose_config(["data=folder", f"data.root={tmp_path / 'none'}", "protocol=paper"])
    with pytest.raises(UserError, match="none"):
        counts_of(own)


@pytest.mark.parametrize("method", ["cotuning", "delta", "linear_probe", "svm"])
def test_a_real_network_is_timed(method):
    config = compose_config([f"method={method}", "protocol.batch_size=4", "device=cpu"])
    pace = timing.measure(config, counts_of(config))
    assert (pace.update > 0) == (method in ("cotuning", "delta"))  # the others have none
    assert pace.view > 0
    assert pace.checkpoint > 0
    assert pace.device == "cpu, 1 threads"


@pytest.mark.parametrize(("enough", "updates"), [(0.0, 1), (1e9, 11)])
def test_one_update_is_enough_where_updates_are_slow(monkeypatch, enough, updates):
    calls, forward = [], FineTune.forward
    monkeypatch.setattr(timing, "SECONDS", enough)
    monkeypatch.setattr(FineTune, "forward", lambda *given: calls.append(1) or forward(*given))
    config = compose_config(["method=finetune", "protocol.batch_size=4", "device=cpu"])
    assert timing.measure(config, counts_of(config)).update > 0
    assert len(calls) == updates


def test_it_is_timed_as_it_will_run(monkeypatch):
    seen, forward = [], FineTune.forward

    def noted(method, batch):
        layout = method.trunk.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
        seen.append((method.precision, layout, method.trunk.recompute))
        return forward(method, batch)

    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr(FineTune, "forward", noted)
    given = ["method=finetune", "backbone=resnet18", "protocol.batch_size=4", "device=cpu", "precision=bf16"]
    config = compose_config([*given, "protocol.resize=32", "protocol.crop=32", "recompute=always"])
    timing.measure(config, counts_of(config))
    assert seen == [("bf16", True, True)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "plan needs one table"),
        (["table=desk", "--devices", "0"], "--devices 0 cannot be used"),
        (["table=desc"], "table=desc is unknown"),
    ],
)
def test_bad_input_is_one_line(here, ask, arguments, message):
    done = ask("plan", *arguments)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f"error: {message}")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("method", ["ensemble", "distill"])
def test_methods_that_read_finished_runs_are_planned_before_these_are_there(method, tmp_path):
    quick = ("backbone.weights=random", "zoo@method.sources=none", "+backbone@method.sources.more=glyphnet")
    config = compose_config([f"method={method}", "data=digits", *quick, f"results={tmp_path}", "protocol.threads=1"])
    pace = cost_of(config, {}).pace
    assert pace.view > 0
    assert (pace.update > 0) == (method == "distill")
    assert not list(tmp_path.iterdir())
