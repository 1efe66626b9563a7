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
    assert steps(tmp_path / "tensorboard", "loss/ce") == [(3, 2.0), (6, 1.0)]
    assert steps(tmp_path / "tensorboard", "loss/sum") == [(3, 2.25), (6, 1.5)]
    assert steps(tmp_path / "tensorboard", "lr") == [(3, 0.5), (6, 0.05)]
    assert steps(tmp_path / "tensorboard", "accuracy/validation") == [(6, 61.0)]
    assert steps(tmp_path / "tensorboard", "accuracy/test") == [(6, 50.0)]


def test_a_resumed_run_takes_back_the_steps_after_its_checkpoint(tmp_path):
    for reports in (((3, 2.0), (6, 1.0), (9, 0.5)), ((6, 1.25), (9, 0.75))):
        logger = TensorBoard(tmp_path)
        for updates, ce in reports:
            logger.report(updates, 0.1, {"ce": ce})
        logger.close()
    assert steps(tmp_path / "tensorboard", "loss/ce") == [(3, 2.0), (6, 1.25), (9, 0.75)]


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
    assert cli.main([*TINY, "logger=neptune", *more]) == 2
    assert (
        capsys.readouterr().err == "error: logger=neptune cannot be used: choose none, tensorboard, wandb, mlflow\n"
    )
    assert not (here / "results").exists()


def test_tensorboard_has_the_settings_of_the_run(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = TensorBoard(tmp_path, "key", {"method.weight": 0.5, "protocol.drop_at": [200], "protocol.threads": None})
    logger.end(toy_record(), 3)
    logger.close()
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    content = str(events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    assert "method.weight" in content
    assert "protocol.drop_at" in content


def test_mlflow_has_terms_scores_and_settings_in_a_local_store(here, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert cli.main([*TINY, "logger=mlflow"]) == 0
    client = mlflow.MlflowClient((here / "results" / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("cotune_bench").experiment_id])
    assert run.info.run_name == next((here / "results" / "runs").iterdir()).name
    assert run.info.status == "FINISHED"
    assert run.data.params["protocol.updates"] == "4"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss/source")] == [1, 2, 3, 4]
    assert 0 <= run.data.metrics["accuracy/test"] <= 100


def test_wandb_writes_an_offline_run(here, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert cli.main([*TINY, "logger=wandb"]) == 0
    (run,) = (here / "results" / "runs").iterdir()
    assert len(list(run.glob("wandb/offline-run-*/*.wandb"))) == 1
