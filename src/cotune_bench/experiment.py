"""One run as a story: configuration in, record out."""

import logging
import os
import platform
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from threadpoolctl import threadpool_limits

import cotune_bench
from cotune_bench.backbones.base import Backbone
from cotune_bench.cache import Cache
from cotune_bench.checkpoint import Checkpoints
from cotune_bench.config import build, run_config, run_key
from cotune_bench.data.split_files import SplitFiles, split_files
from cotune_bench.data.target import TargetData, target_data
from cotune_bench.engine import Report, evaluate, fit
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method
from cotune_bench.protocol import Protocol
from cotune_bench.records import Record
from cotune_bench.signals import StopRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """Everything a run needs, built and checked, before anything is written or trained."""

    key: str
    config: DictConfig
    protocol: Protocol
    cache: Cache
    backbone: Backbone
    data: TargetData
    splits: SplitFiles
    method: Method

    @classmethod
    def build(cls, config: DictConfig) -> "Experiment":
        """Data, backbone and method of a configuration; UserError where they do not fit together."""
        protocol = Protocol(**OmegaConf.to_container(config.protocol, resolve=True))  # type: ignore[arg-type]
        set_threads(protocol.threads)
        device = choose_device(config.device)
        cache = Cache(Path(config.cache))
        dataset = build(config.data)
        backbone = build(config.backbone, cache=cache.folder)
        data = target_data(
            dataset,
            protocol,
            rate=config.rate,
            seed=config.seed,
            split_seed=config.split_seed,
            mean=backbone.info.mean,
            std=backbone.info.std,
            device=device,
            folder=cache.folder if config.decode_cache else None,
        )
        splits = split_files(
            dataset,
            data,
            protocol,
            settings=run_config(config)["data"],
            rate=config.rate,
            split_seed=config.split_seed,
            folder=Path(config.results) / "splits",
        )
        splits.check()
        torch.manual_seed(config.seed)  # of the new head
        method = build(
            config.method, backbone, len(data.classes), head_init=protocol.head_init, drop=["name", "tune"]
        )
        method.check(data)
        return cls(run_key(config), config, protocol, cache, backbone, data, splits, method.to(device))

    def train(
        self,
        report: Report = lambda updates, lr, terms: None,
        checkpoints: Checkpoints | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        """Train the method by the protocol, from the last checkpoint if there is one."""
        every = max(1, min(50, self.protocol.updates // 20))
        fit(
            self.method,
            self.data,
            self.protocol,
            seed=self.config.seed,
            cache=self.cache,
            report=report,
            report_every=every,
            checkpoints=checkpoints,
            stop=stop,
        )

    def validate(self) -> dict[str, float] | None:
        """Scores on the validation images, None if there are none; the test images are not touched."""
        return evaluate(self.method, self.data.val) if len(self.data.val) else None

    def record(self, started: float) -> Record:
        """Validate, read the test set once, and tell it all."""
        validation = self.validate()
        test = evaluate(self.method, self.data.test)
        config = run_config(self.config)
        return Record(
            key=self.key,
            method=config["method"]["name"],
            data=self.data.name,
            backbone=self.backbone.name,
            protocol=self.protocol.name,
            rate=float(config["rate"]),
            seed=config["seed"],
            accuracy=test["accuracy"],
            nll=test["nll"],
            val_accuracy=validation["accuracy"] if validation else None,
            train_images=len(self.data.plain),
            test_images=len(self.data.test),
            weights=self.backbone.info.weights,
            weights_sha256=self.backbone.info.sha256,
            data_sha256=self.data.fingerprint,
            seconds=round(time.monotonic() - started, 2),
            finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
            config=config,
            environment=environment(self.data.train.normalize.device),
        )


def set_threads(count: int | None) -> None:
    """Fix the threads of torch and BLAS, whatever the launcher set: sums depend on them in their last bits."""
    threads = count or os.cpu_count() or 1
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)  # some CUDA operators have no deterministic form
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010  # nothing here reads memory it has not written
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for


def choose_device(name: str) -> torch.device:
    """``auto`` is the first GPU if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device={name} cannot be used ({reason}): choose auto, cpu or cuda:0") from error
    return device


def environment(device: torch.device) -> dict[str, object]:
    """What may explain a result without defining it."""
    return {
        "version": cotune_bench.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "host": platform.node(),
    }


def commit() -> str | None:
    """Commit of the checkout this package is imported from, ``-dirty`` if changed; None outside of a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
