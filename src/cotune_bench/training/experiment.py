"""One run as a story: configuration in, record out."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from threadpoolctl import threadpool_limits

from cotune_bench.backbones.additional import further_backbones, weights_of
from cotune_bench.backbones.base import Backbone
from cotune_bench.backbones.precision import resolve
from cotune_bench.backbones.trunk import Trunk
from cotune_bench.config import build, run_config, run_key
from cotune_bench.config.protocol import Protocol, channels_last
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.split_lists import SplitFiles, split_files
from cotune_bench.data.target import TargetData, target_data
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method
from cotune_bench.storage.cache import Cache
from cotune_bench.storage.records import Record, packed
from cotune_bench.training.checkpoint import Checkpoints
from cotune_bench.training.engine import Report, evaluate, fit
from cotune_bench.training.gpu_crops import resident
from cotune_bench.training.interrupts import StopRequest
from cotune_bench.training.provenance import environment
from cotune_bench.training.slots import slot

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
    files: ImageList | None  # as the reader gave them; None where it gave pixels
    further: list[dict[str, str]]  # weights of backbones beside the first

    @classmethod
    def build(cls, config: DictConfig) -> "Experiment":
        """Data, backbone and method of a configuration on the CPU; UserError where they do not fit together."""
        protocol = Protocol(**OmegaConf.to_container(config.protocol, resolve=True))  # type: ignore[arg-type]
        set_threads(protocol.threads)
        devices(config.device)
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
            device=torch.device("cpu"),
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
        further = further_backbones(config.method, backbone, partial(build, cache=cache.folder))
        torch.manual_seed(config.seed)  # of the new head
        own = {"head_init": protocol.head_init, **further}
        method = build(config.method, backbone, len(data.classes), drop=["name", "tune"], **own)
        method.check(data)
        first = devices(config.device)[0]
        choose_execution(method, protocol, first, recompute=config.recompute, compile_mode=config.compile)
        files = dataset if isinstance(dataset, ImageList) else None
        return cls(
            run_key(config), config, protocol, cache, backbone, data, splits, method, files, weights_of(further)
        )

    @contextmanager
    def placed(self, waiting: Callable[[], None] = lambda: None) -> Iterator["Experiment"]:
        """This experiment on its device, with a slot there if it is a GPU; ``waiting`` as in :func:`slot`."""
        found = devices(self.config.device)
        if names := gpu_names(found):
            with slot(names, self.config.gpu_slots, waiting=waiting) as place:
                yield self.to(found[place])
        else:
            yield self.to(found[0])

    def to(self, device: torch.device) -> "Experiment":
        """This experiment on another device; the method is moved, not copied."""
        data = self.data.to(device)
        if self.config.gpu_cache:
            data = replace(data, train=resident(data.train, self.protocol))
        return replace(self, data=data, method=self.method.to(device))

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
        return evaluate(self.method, self.data.val)[0] if len(self.data.val) else None

    def record(self, started: float) -> Record:
        """Validate, read the test set once, and tell it all."""
        validation = self.validate()
        test, correct = evaluate(self.method, self.data.test)
        config = run_config(self.config)
        left_out = len(self.files.unreadable) if self.files else 0
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
            correct=packed(correct),
            test_sha256=self.data.test_fingerprint,
            seconds=round(time.monotonic() - started, 2),
            finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
            config=config,
            environment=environment(self.data.train.normalize.device)
            | {"precision": self.method.precision, "compile": self.config.compile}
            | ({"unreadable_left_out": left_out} if left_out else {})
            | ({"further_weights": self.further} if self.further else {}),
        )


def set_threads(count: int | None) -> None:
    """Fix the threads of torch and BLAS, whatever the launcher set: sums depend on them in their last bits."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = count or available or 1  # a Slurm job is given some of the cores
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    # Some CUDA operators have no deterministic form. The better known use_deterministic_algorithms() imports all of
    # torch.compile for it, which takes seconds.
    torch.set_deterministic_debug_mode("warn")
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010  # nothing here reads memory it has not written
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for


def choose_execution(
    method: Method, protocol: Protocol, device: torch.device, *, recompute: str, compile_mode: str
) -> None:
    """Precision, memory layout, memory and compilation of a method's trunk; UserError where they do not fit."""
    method.precision = resolve(protocol.precision, device)
    if channels_last(protocol.crop):
        method.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if recompute == "always":
        if not isinstance(method.trunk, Trunk):
            raise UserError("recompute=always is not known of this backbone: use a smaller protocol.batch_size")
        method.trunk.recompute = True
    if compile_mode != "none":
        if not method.compilable:
            raise UserError(f"compile={compile_mode} cannot be used with this method: use compile=none")
        method.trunk.compile(mode=compile_mode)


def devices(name: str) -> list[torch.device]:
    """The devices of which a run may use one: ``auto`` is all GPUs if there are any, else the CPU.

    Raises:
        UserError: there is no such device.
    """
    try:
        first = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(first if name == "auto" else name)
        if device.type != "cuda":
            torch.empty(1, device=device)
            return [device]
    except (RuntimeError, AssertionError) as error:
        known = not str(error).startswith("Expected one of")  # which lists every device that torch ever knew
        raise _no_device(name, str(error).splitlines()[0] if known else "it names none") from error
    count = torch.cuda.device_count()  # without a look at the GPU itself, which others may be using
    if name == "auto":
        return [torch.device("cuda", index) for index in range(count)]
    if (device.index or 0) >= count:
        raise _no_device(name, f"{count} GPUs are visible")
    return [torch.device("cuda", device.index or 0)]


def gpu_names(found: list[torch.device]) -> list[str]:
    """UUIDs, which other processes see whatever CUDA_VISIBLE_DEVICES shows them; none for a device without slots."""
    return [str(torch.cuda.get_device_properties(device).uuid) for device in found if device.type == "cuda"]


def _no_device(name: str, reason: str) -> UserError:
    return UserError(f"device={name} cannot be used ({reason}): choose auto, cpu or cuda:0")
