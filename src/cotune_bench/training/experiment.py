"""One run as a story: configuration in, record out."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from cotune_bench.backbones.base import Backbone
from cotune_bench.config import build, run_config, run_key
from cotune_bench.config.keys import processes, variants
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.split_lists import SplitFiles, split_files
from cotune_bench.data.target import TargetData
from cotune_bench.errors import UserError
from cotune_bench.inference.costs import costs_of
from cotune_bench.inference.evaluate import evaluate
from cotune_bench.inference.execution import devices, keep_freed_memory, set_threads
from cotune_bench.inference.policies import Policies, policies_of
from cotune_bench.methods.assemble import make_backbone, make_method
from cotune_bench.methods.base import Method
from cotune_bench.parallel import check_divisible, rank, world
from cotune_bench.storage.cache import Cache
from cotune_bench.storage.records import Record, packed
from cotune_bench.training.assemble import assemble, assemble_data
from cotune_bench.training.checkpoint import Checkpoints
from cotune_bench.training.engine import fit
from cotune_bench.training.interrupts import StopRequest
from cotune_bench.training.progress import Report
from cotune_bench.training.provenance import environment

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
        if late := [step for step in protocol.drop_at if step >= protocol.updates]:
            log.warning(
                "protocol.drop_at=%s is not reached in protocol.updates=%d: the learning rate does not drop there",
                late,
                protocol.updates,
            )
        keep_freed_memory()
        set_threads(protocol.threads)
        device = devices(config.device)[0]
        cache = Cache(Path(config.cache))
        dataset = build(config.data)
        backbone = make_backbone(config.backbone, cache.folder)
        asked = {"rate": config.rate, "split_seed": config.split_seed}
        decoded = cache.folder if config.decode_cache else None
        data = assemble_data(dataset, backbone, protocol, seed=config.seed, folder=decoded, **asked)
        if len(data.plain) <= len(data.classes) and config.rate < 1:
            log.warning("rate=%g leaves one training image in each class", config.rate)
        folder = Path(config.results) / "splits"
        splits = split_files(dataset, data, protocol, settings=run_config(config)["data"], folder=folder, **asked)
        splits.check()
        method, further = make_method(config.method, backbone, data.task, cache.folder, seed=config.seed)
        assemble(method, data, protocol, device, recompute=config.recompute, compile_mode=config.compile)
        _check_processes(config, method, data, device)
        files = dataset if isinstance(dataset, ImageList) else None
        return cls(run_key(config), config, protocol, cache, backbone, data, splits, method, files, further)

    def placed(self) -> "Experiment":
        """This experiment on its device, that of its process; the method is moved, not copied."""
        places = devices(self.config.device)
        device = places[rank() % len(places)]
        return replace(self, data=self.data.to(device), method=self.method.to(device))

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
            sync_batch_norm=self.config.sync_batch_norm,
            shard=self.config.shard,
        )

    def variants(self) -> Iterator["Experiment"]:
        """This experiment with each further way to predict that its method declares, while it predicts so."""
        for config in variants(self.config, self.method.variants):
            for name in self.method.variants:
                setattr(self.method, name, config.method[name])
            yield replace(self, config=config, key=run_key(config))
        for name in self.method.variants:
            setattr(self.method, name, self.config.method[name])

    @cached_property
    def policies(self) -> Policies | None:
        """What the trained method chose for each test image; None where it chooses nothing."""
        return policies_of(self.method, self.data.test)

    def artifacts(self) -> dict[str, bytes]:
        """Files that the run's folder keeps, by name."""
        texts = self.method.artifacts() | (self.policies.texts(self.data.classes) if self.policies else {})
        sheets = {"policy_images.png": self.policies.sheet(self.data.test)} if self.policies else {}
        return {name: text.encode() for name, text in texts.items()} | sheets

    def validate(self) -> dict[str, float]:
        """Scores on the validation images, empty without any; the test images are not read."""
        return evaluate(self.method, self.data.val)[0] if len(self.data.val) else {}

    def record(self, started: float) -> Record:
        """Validate, read the test set once, and return all scores."""
        test, correct = evaluate(self.method, self.data.test)
        if self.policies:
            test["tuned_blocks"] = self.policies.tuned_blocks
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
            metrics=test,
            validation=self.validate(),
            primary=self.data.task.primary,
            costs=costs_of(self.method, self.data),
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
            | ({"processes": world(), "shard": self.config.shard} if world() > 1 else {})
            | ({"unreadable_left_out": left_out} if left_out else {})
            | ({"further_weights": self.further} if self.further else {}),
        )


def _check_processes(config: DictConfig, method: Method, data: TargetData, device: torch.device) -> None:
    """UserError unless the processes of a run can share its batches."""
    if (count := processes(config.devices)) == 1:
        if config.shard:
            raise UserError("shard=true cannot be used on one device: give devices=N, or leave it out")
        return
    check_divisible(method, len(data.train.positions(0)), count)
    if device.type == "cuda" and len(places := devices(config.device)) < count:
        raise UserError(f"devices={count} cannot be used: {len(places)} GPUs are visible to device={config.device}")
    if config.compile != "none":
        raise UserError(f"devices={count} cannot be used with compile={config.compile}: use compile=none")
    if config.shard:
        from cotune_bench.training.sharding import SHARDABLE  # it takes a second to import

        if config.method.name not in SHARDABLE:
            raise UserError("shard=true cannot be used with this method: use shard=false")
