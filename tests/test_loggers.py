"""Loggers mirror a run and never harm it."""

from pathlib import Path

import pytest
import torch
from toy import toy_record

from cotune_bench import cli
from cotune_bench.training import loggers
from cotune_bench.training.loggers import Logger, TensorBoard, make_logger, picture

TINY = ("method=cotuning", "backbone.weights=random", "protocol.updates=4", "device=cpu")


def events(folder: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def steps(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in events(folder).Scalars(name)]


def tensorboard(folder: Path) -> TensorBoard:
    pytest.importorskip("tensorboard")
    return TensorBoard(folder, batch_size=8, backbone_ratio=0.1)


def test_terms_rates_and_scores_are_logged_by_update(tmp_path):
    logger = tensorboard(tmp_path)
    logger.report(3, 0.5, {"ce": 2.0, "bss": 0.25})
    logger.report(6, 0.05, {"ce": 1.0, "bss": 0.5})
    logger.end(toy_record(val_accuracy=61.0), 6, torch.eye(2, 3))
    logger.close()
    assert steps(tmp_path, "loss/ce") == [(3, 2.0), (6, 1.0)]
    assert steps(tmp_path, "loss/sum") == [(3, 2.25), (6, 1.5)]
    assert steps(tmp_path, "lr/head") == [(3, 0.5), (6, 0.05)]
    assert steps(tmp_path, "lr/backbone") == [(3, 0.05), (6, 0.005)]
    assert steps(tmp_path, "accuracy/validation") == [(6, 61.0)]
    assert steps(tmp_path, "accuracy/test") == [(6, 50.0)]
    assert events(tmp_path).Images("relationship")[0].step == 6


def test_speed_is_images_over_seconds_between_reports(tmp_path, monkeypatch):
    clock = iter([10.0, 14.0])
    logger = tensorboard(tmp_path)
    monkeypatch.setattr(loggers.time, "monotonic", lambda: next(clock))
    logger.report(3, 0.1, {"ce": 1.0})
    logger.report(6, 0.1, {"ce": 1.0})
    monkeypatch.undo()
    logger.close()
    assert steps(tmp_path, "images_per_second") == [(6, 6.0)]  # 3 updates of 8 images in 4 s


def test_a_resumed_run_takes_back_the_steps_after_its_checkpoint(tmp_path):
    for reports in (((3, 2.0), (6, 1.0), (9, 0.5)), ((6, 1.25), (9, 0.75))):
        logger = tensorboard(tmp_path)
        for updates, ce in reports:
            logger.report(updates, 0.1, {"ce": ce})
        logger.close()
    assert steps(tmp_path, "loss/ce") == [(3, 2.0), (6, 1.25), (9, 0.75)]


def test_a_failing_logger_says_so_once(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    logger = tensorboard(tmp_path / "file")
    for updates in (3, 6):
        logger.report(updates, 0.1, {"ce": 1.0})
    logger.end(toy_record(), 6, torch.eye(2))
    logger.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: logger=tensorboard failed and is left out from here on: FileExistsError: ")


def test_a_run_is_the_same_with_a_logger_without_and_with_one_that_fails(here, capsys):
    assert cli.main([*TINY, "results=none"]) == 0
    assert cli.main([*TINY, "results=mirrored", "logger=tensorboard"]) == 0
    (key,) = (path.name for path in (here / "none" / "runs").iterdir())
    broken = here / "broken" / "runs" / key
    broken.mkdir(parents=True)
    (broken / "tensorboard").write_text("in the way")
    capsys.readouterr()
    assert cli.main([*TINY, "results=broken", "logger=tensorboard"]) == 0
    assert capsys.readouterr().err.count("logger=tensorboard failed") == 1
    metrics = {
        name: (here / name / "runs" / key / "metrics.csv").read_bytes() for name in ("none", "mirrored", "broken")
    }
    assert len(set(metrics.values())) == 1
    assert [step for step, _ in steps(here / "mirrored" / "runs" / key / "tensorboard", "loss/source")] == [
        1,
        2,
        3,
        4,
    ]
    assert not (here / "none" / "runs" / key / "tensorboard").exists()


@pytest.mark.parametrize("more", [[], ["-m", "seed=0,1"]])
def test_a_missing_package_is_told_before_anything_is_written(here, capsys, monkeypatch, more):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    assert cli.main([*TINY, "logger=tensorboard", *more]) == 2
    assert capsys.readouterr().err.startswith("error: logger=tensorboard needs a package: pip install ")
    assert not (here / "results").exists()


def test_an_unknown_logger_is_told(here, capsys):
    assert cli.main([*TINY, "logger=wandb"]) == 2
    assert capsys.readouterr().err == "error: logger=wandb is unknown: choose none, tensorboard\n"


def test_none_is_a_logger_that_does_nothing(tmp_path):
    logger = make_logger("none", tmp_path, batch_size=8, backbone_ratio=0.1)
    assert type(logger) is Logger
    logger.report(3, 0.1, {"ce": 1.0})
    logger.end(toy_record(), 3)
    logger.close()
    assert list(tmp_path.iterdir()) == []


def test_picture_by_hand():
    shown = picture(torch.tensor([[0.0, 0.5], [0.25, 0.125]]))
    assert shown.shape == (512, 512)
    assert shown[::256, ::256].tolist() == [[0.0, 1.0], [0.5, 0.25]]
