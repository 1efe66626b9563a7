"""The processes of a run on several devices: this one and those that follow it."""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist
from omegaconf import DictConfig
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from cotune_bench.config import run_key
from cotune_bench.config.keys import processes
from cotune_bench.storage.records import RecordStore
from cotune_bench.training.checkpoint import Checkpoints
from cotune_bench.training.experiment import Experiment
from cotune_bench.training.interrupts import SIGNALS, end_with_parent

PATIENCE = timedelta(minutes=10)  # of a process that waits for another


@contextmanager
def company(config: DictConfig) -> Iterator[None]:
    """The processes of a run; the others do what this one does, and write nothing.

    Those of ``devices=N`` are started here, those of torchrun are there already.

    Raises:
        RuntimeError: one of them ended early.
    """
    others: list[BaseProcess] = []
    try:
        if processes(1) > 1:
            _join(config)
        elif processes(config.devices) > 1:
            store = TCPStore("127.0.0.1", 0, config.devices, is_master=True, wait_for_workers=False)
            context = multiprocessing.get_context("spawn")
            for rank in range(1, config.devices):
                others.append(context.Process(target=_started, args=(config, rank, store.port)))
                others[-1].start()
            while store.add("ready", 0) < len(others):
                _require_alive(others)
                time.sleep(0.02)
            _join(config, store=store, rank=0)
        yield
    except RuntimeError as error:  # what an exchange raises when another process is gone
        time.sleep(0.5)  # until its exit code is known
        _require_alive(others, error)
        raise
    finally:
        for process in others:
            process.kill()
            process.join()
        if dist.is_initialized():
            dist.destroy_process_group()


def _join(config: DictConfig, **place: object) -> None:
    """Enter the process group; under torchrun, the environment names this process's place in it."""
    backend = "cpu:gloo,cuda:nccl" if config.device != "cpu" and torch.cuda.is_available() else "gloo"
    size = {"world_size": config.devices} if place else {}
    dist.init_process_group(backend, timeout=PATIENCE, **size, **place)  # pyright: ignore[reportArgumentType]


def _require_alive(others: list[BaseProcess], cause: Exception | None = None) -> None:
    for number, process in enumerate(others, start=1):
        if code := process.exitcode:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise RuntimeError(
                f"process {number} of devices={len(others) + 1} {how}; the same command resumes from its checkpoint"
            ) from cause


def _started(config: DictConfig, rank: int, port: int) -> None:
    """A process of ``devices=N``, which ends with the first one."""
    end_with_parent(lambda: os._exit(1))
    experiment = _built(config)
    store = TCPStore("127.0.0.1", port, config.devices, is_master=False)
    store.add("ready", 1)
    _join(config, store=store, rank=rank)
    _follow(experiment)


def follow(config: DictConfig) -> None:
    """What a process of torchrun beside the first does."""
    if not RecordStore(Path(config.results)).finished(run_key(config)) or config.force:
        experiment = _built(config)
        with company(config):
            _follow(experiment)


def _built(config: DictConfig) -> Experiment:
    for number in SIGNALS:  # the first process alone answers them
        signal.signal(number, signal.SIG_IGN)
    logging.disable()  # it says the same
    return Experiment.build(config)


def _follow(experiment: Experiment) -> None:
    config = experiment.config
    placed = experiment.placed()
    placed.train(checkpoints=Checkpoints(Path(config.results) / "runs" / experiment.key, config.checkpoint_every))
    for variant in placed.variants():
        variant.record(0.0)
    placed.record(0.0)
