"""Loggers mirror a run and never harm it."""

from pathlib import Path

import pytest
from toy import toy_record

from cotune_bench import cli
from cotune_bench.training import loggers
from cotune_bench.training.loggers import TensorBoard

TINY = ("method=cotuning", "backbone.weights=random", "protocol.updates=4", "device=cpu")


def steps(folder: Path, name: str) -> list[tuple[int, float]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]


def test_terms_rate_and_scores_are_logged_by_update(tmp_path):
    logger = TensorBoard(tmp_path)
    logger.report(3, 0.5, {"ce": 2.0, "bss": 0.25})
    logger.report(6, 0.05, {"ce": 1.0, "bss": 0.5})
    logger.end(toy_record(val_accuracy=61.0), 6)
    logger.close()
    assert steps(tmp_path, "loss/ce") == [(3, 2.0), (6, 1.0)]
    assert steps(tmp_path, "loss/sum") == [(3, 2.25), (6, 1.5)]
    assert steps(tmp_path, "lr") == [(3, 0.5), (6, 0.05)]
    assert steps(tmp_path, "accuracy/validation") == [(6, 61.0)]
    assert steps(tmp_path, "accuracy/test") == [(6, 50.0)]


def test_a_resumed_run_takes_back_the_steps_after_its_checkpoint(tmp_path):
    for reports in (((3, 2.0), (6, 1.0), (9, 0.5)), ((6, 1.25), (9, 0.75))):
        logger = TensorBoard(tmp_path)
        for updates, ce in reports:
            logger.report(updates, 0.1, {"ce": ce})
        logger.close()
    assert steps(tmp_path, "loss/ce") == [(3, 2.0), (6, 1.25), (9, 0.75)]


def test_a_run_is_the_same_with_a_logger_without_and_with_one_that_fails(here, capsys):
    assert cli.main([*TINY, "results=none"]) == 0
    assert cli.main([*TINY, "results=mirrored", "logger=tensorboard"]) == 0
    (key,) = (path.name for path in (here / "none" / "runs").iterdir())
    broken = here / "broken" / "runs" / key
    broken.mkdir(parents=True)
    (broken / "tensorboard").write_text("in the way")
    capsys.readouterr()
    assert cli.main([*TINY, "results=broken", "logger=tensorboard"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: logger=tensorboard failed and is left out from here on: FileExistsError: ")
    runs = [here / name / "runs" / key for name in ("none", "mirrored", "broken")]
    assert len({(run / "metrics.csv").read_bytes() for run in runs}) == 1
    assert [step for step, _ in steps(runs[1] / "tensorboard", "loss/source")] == [1, 2, 3, 4]
    assert not (runs[0] / "tensorboard").exists()


@pytest.mark.parametrize("more", [[], ["-m", "seed=0,1"]])
def test_a_missing_package_and_an_unknown_logger_are_refused_before_anything_is_written(
    here, capsys, monkeypatch, more
):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    assert cli.main([*TINY, "logger=tensorboard", *more]) == 2
    assert capsys.readouterr().err.startswith("error: logger=tensorboard needs a package: pip install ")
    assert cli.main([*TINY, "logger=wandb", *more]) == 2
    assert capsys.readouterr().err == "error: logger=wandb cannot be used: choose none, tensorboard\n"
    assert not (here / "results").exists()
