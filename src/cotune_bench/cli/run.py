"""Train and evaluate one configuration, a sweep, or the cells of a table."""

import os
import shlex
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import product
from pathlib import Path

from omegaconf import DictConfig

from cotune_bench import config as settings
from cotune_bench.cli import COMMANDS
from cotune_bench.cli.parser import take_tables, warn
from cotune_bench.config import groups
from cotune_bench.config.changed import described_row
from cotune_bench.config.overrides import readable
from cotune_bench.config.own_images import auto_line, own_images
from cotune_bench.config.tables import load_table, table_sweeps
from cotune_bench.errors import UserError, count
from cotune_bench.storage.files import check_writable
from cotune_bench.storage.find_run import CARD
from cotune_bench.storage.records import RecordStore
from cotune_bench.training import runner, sweeps
from cotune_bench.training.loggers import require_logger
from cotune_bench.training.watch import SWEEPS, SweepWatch, clear_dead

#: Flags that Hydra answers itself, without running anything.
HYDRA_ANSWERS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i")
HYDRA_ANSWERS += ("--shell-completion", "-sc")


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for, or let Hydra answer."""
    if any(argument.split("=")[0] in HYDRA_ANSWERS for argument in arguments):
        words = os.environ.get("COMP_LINE", "").split(" ")  # what Hydra completes for a shell
        if len(words) > 2 and words[1] in COMMANDS:
            os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
        return _hydra(_first_cell([one for one in arguments if not one.startswith("table=")]))
    flags = [argument for argument in arguments if argument.startswith("-")]
    tables, overrides = take_tables(readable(argument) for argument in arguments if not argument.startswith("-"))
    if unknown := [flag for flag in flags if flag not in ("-m", "--multirun")]:
        raise UserError(f"{unknown[0]} is not an option of a run: see cotune-bench run --help")
    if len(tables) > 1:
        raise UserError("table= is given twice: run one table at a time")
    if not flags and not tables:
        return _single(overrides)
    code, any_ended = _sweep(table_sweeps(load_table(tables[0]), overrides) if tables else [[overrides]])
    if tables and any_ended:
        from cotune_bench.reports.build import make_tables

        make_tables(tables, overrides, warn=False)  # the sweep has warned
    return code


def _first_cell(arguments: list[str]) -> list[str]:
    """For what Hydra shows of a sweep: the first value of each setting."""
    if not {"-m", "--multirun"} & {*arguments}:
        return arguments
    rest = [one for one in arguments if one not in ("-m", "--multirun")]
    return [settings.axes([readable(one)])[0][0] if "=" in one and one[0] != "-" else one for one in rest]


def _single(overrides: list[str]) -> int:
    for override in settings.parse(overrides):
        if override.is_sweep_override():
            raise UserError(f"{override.input_line} names several values: add -m to run them all")
    config = settings.compose_config(overrides)
    check_writable(Path(config.results))
    if config.force or not RecordStore(Path(config.results)).finished(settings.run_key(config)):
        announce(config)
    try:
        if "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] != "0":  # the first process writes
            from cotune_bench.training.company import follow

            follow(config)
            return 0
        outcome = runner.run(config, shown=True)
    except UserError:
        raise
    except Exception as error:
        print(runner.failure_line(config, error), file=sys.stderr)
        return 1
    print(outcome.line)
    if outcome.state == runner.DONE and (Path(config.results) / "runs" / outcome.key / CARD).exists():
        print(f"its network: {predict_command(outcome.key, config.results)}", file=sys.stderr)
    _refresh(Path(config.results))
    return 0


def _sweep(stages: list[list[list[str]]]) -> tuple[int, bool]:
    """Exit code, and whether any cell ended, of sweeps that run as one; the second stage waits for the first."""
    parts = [overrides for stage in stages for overrides in stage]
    counted = [settings.check_sweep(overrides) for overrides in parts]
    cells = sum(counted)
    first = settings.compose_config([values[0] for values in settings.axes(parts[0])])
    require_logger(first.logger)
    if first.devices > 1 and (first.jobs != 1 or any(text.startswith("hydra") for text in parts[0])):
        raise UserError(f"devices={first.devices} is for one run at a time: use jobs=1, or leave devices out")
    results = Path(first.results).absolute()
    check_writable(results)
    for one in _configs(parts[0], "data", "data.root"):  # the same in all
        announce(one)
        _require_data(one, parts)
    for overrides in parts:
        _require_sources(overrides)
    clear_dead(results)
    folder = results / SWEEPS / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    started = time.monotonic()
    each, code = _cells(parts), 0
    try:
        with SweepWatch(folder, results, [label for overrides in parts for label in _labels(overrides, len(parts))]):
            if any(override.startswith("hydra") for override in parts[0]):
                for number, overrides in enumerate(parts):
                    where = folder / str(sum(counted[:number]))  # of its first cell among all
                    code = _launch([*overrides, f"hydra.sweep.dir={where}", "hydra.sweep.subdir=."]) or code
            elif first.jobs == 1:
                for number, cell in enumerate(each):
                    sweeps.run_cell(cell, folder, number)
            else:
                before = sum(counted[: len(stages[0])])
                sweeps.run_cells(each, folder, sweeps.places(first), before)
            ended = sweeps.read_outcomes(folder, cells)
    finally:
        if results.exists():
            _refresh(results)
    counts = Counter(outcome.state for outcome in ended)
    lost = cells - len(ended)
    words = [f"{counts[state]} {state}" for state in (runner.DONE, runner.FAILED, runner.SKIPPED)]
    words += [f"{counts[runner.ELSEWHERE]} {runner.ELSEWHERE}"] if counts[runner.ELSEWHERE] else []
    words += [f"{lost} did not end: start the same command again"] if lost else []
    print(f"{', '.join(words)}; {count(cells, 'cell')} in {time.monotonic() - started:.0f} s")
    for outcome in ended:
        if outcome.state == runner.FAILED:
            print(f"  {outcome.line}", file=sys.stderr)
    return 1 if counts[runner.FAILED] or lost else code, bool(ended)


def _cells(parts: list[list[str]]) -> list[tuple[str, ...]]:
    """The overrides of every cell of these sweeps."""
    return [cell for overrides in parts for cell in product(*settings.axes(overrides))]


def _labels(overrides: list[str], parts: int) -> list[str]:
    """For each cell of one of several sweeps the settings that vary."""
    axes = settings.axes(overrides)
    kept = ("method", "backbone") if parts > 1 else ()
    varied = [values for values in axes if len(values) > 1 or values[0].startswith(kept)] or axes
    return [" ".join(cell) for cell in product(*varied)]


def _configs(overrides: list[str], *names: str) -> list[DictConfig]:
    """A configuration for each choice of these settings in a sweep, with the first value of the others."""
    axes = settings.axes(overrides)
    choices = [values if values[0].partition("=")[0] in names else values[:1] for values in axes]
    return [settings.compose_config(cell) for cell in product(*choices)]


def _require_sources(overrides: list[str]) -> None:
    """UserError if a backbone that has several source networks has none of a seed that the sweep asks for."""
    for one in _configs(overrides, "data", "replicate", "backbone", "backbone.seed", "backbone.weights"):
        if "seed" in one.backbone and one.backbone.weights != "train":
            settings.build(one.backbone, cache=Path(one.cache))


def _require_data(config: DictConfig, parts: list[list[str]]) -> None:
    """UserError if a data set is not there or has lost images, unless all its cells are finished."""
    if own_images(config.data):
        return  # their report has looked
    from cotune_bench.data.dataset import ImageList
    from cotune_bench.data.readers.common import require_files

    try:
        data = settings.build(config.data)
        if isinstance(data, ImageList):
            require_files(data)
    except UserError:
        cells = map(settings.compose_config, _cells(parts))
        store = RecordStore(Path(config.results))
        if not all(store.finished(settings.run_key(cell)) for cell in cells if cell.data == config.data):
            raise


def predict_command(key: str, results: str) -> str:
    """The command that predicts with the network of a run."""
    place = "" if results == "results" else f" results={shlex.quote(results)}"
    return f"cotune-bench predict {key} PICTURE...{place}"


def announce(config: DictConfig) -> None:
    """Print what protocol=auto chose and what is known of one's own images; UserError if they cannot be used."""
    lines = []
    if own_images(config.data):
        from cotune_bench.data.quality import report

        lines += report(config)
    if config.protocol.name == "auto":
        lines.append(auto_line(config))
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def _launch(overrides: list[str]) -> int:
    """Run the cells; where a launcher gives up, its reason in one line, and 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise what Hydra would print in many lines
    if "hydra/launcher=slurm" in overrides:
        with suppress(ImportError):  # Hydra reports the extra that is missing
            sweeps.watch_jobs()
    try:
        return _hydra(["--multirun", *overrides])
    except UserError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2])  # what follows them in submitit's message is the log of the job
        print(f"the launcher gave up: {type(error).__name__}: {reason}", file=sys.stderr)
        return 1


def _hydra(arguments: list[str]) -> int:
    """Let Hydra answer or launch; its launchers decide where the jobs of a sweep run."""
    import hydra

    program = sys.argv
    sys.argv = [program[0], *arguments]
    try:
        hydra.main(config_path=str(groups.CONF), config_name="config", version_base="1.3")(_job)()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = program
    return 0


def _job(config) -> None:
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    where = Path(hydra.sweep.dir)
    sweeps.job(config, where.parent, int(where.name) + hydra.job.num)


def _refresh(results: Path) -> None:
    try:
        _, damaged = RecordStore(results).refresh(described_row)
    except OSError as error:
        damaged = [f"results.csv is not up to date ({error}): cotune-bench results refresh makes it again"]
    warn(damaged)
