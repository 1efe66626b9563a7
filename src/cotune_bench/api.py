"""A few lines for notebooks: backbone, data, method, fit, predict; engine and rules are the command line's."""

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from cotune_bench.backbones.base import Backbone
from cotune_bench.config import build, compose_config, run_config
from cotune_bench.config.overrides import value_text
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.dataset import Dataset, ImageList
from cotune_bench.data.target import TargetData
from cotune_bench.errors import UserError
from cotune_bench.inference.evaluate import evaluate, predict
from cotune_bench.inference.execution import devices
from cotune_bench.inference.kept_network import VERSIONS, preprocessing, reader_values, write_network
from cotune_bench.inference.network import Input, Network, load, probabilities
from cotune_bench.inference.predict import Predictor
from cotune_bench.methods.base import Method
from cotune_bench.storage.cache import Cache
from cotune_bench.storage.files import check_writable
from cotune_bench.storage.find_run import CARD
from cotune_bench.storage.summary import Summary
from cotune_bench.training import engine
from cotune_bench.training.assemble import assemble, assemble_data
from cotune_bench.training.progress import Report, shown_bar
from cotune_bench.training.provenance import environment


@dataclass(frozen=True, repr=False)
class Data(Summary):
    """Images of a target task, split and sampled, under the protocol that trains and tests on them.

    Attributes:
        target: batches and views; ``data.target.train(0)`` is the first batch.
        protocol: schedule, augmentation, views and split.
        cache: folder of weights and statistics.
        seen: what an image goes through before the network sees it.
        about: settings of data set and backbone, for the card of a network that is saved.
        source: the backbone.
    """

    target: TargetData
    protocol: Protocol
    cache: Path
    seen: Mapping[str, Any]
    about: Mapping[str, Any]
    source: Backbone

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes, in the order of the outputs."""
        return self.target.classes

    def summary(self) -> dict[str, object]:
        """What ``repr`` shows."""
        target, names = self.target, ", ".join(self.classes[:5])
        return {
            "data": f"{target.name}, rate {self.about['rate']:g}",
            "classes": f"{len(self.classes)}: {names}{', ...' if len(self.classes) > 5 else ''}",
            "images": f"{len(target.plain)} training, {len(target.val)} validation, {len(target.test)} test",
            "protocol": f"{self.protocol.name}, {self.protocol.updates} updates of {self.protocol.batch_size}",
            "for": f"{self.source.name} {self.source.info.weights}",
        }


@dataclass(frozen=True, repr=False)
class Fitted(Summary):
    """A trained method and the data it was trained on."""

    method: Method
    data: Data

    def summary(self) -> dict[str, object]:
        """What ``repr`` shows."""
        weights = sum(parameter.numel() for parameter in self.method.parameters())
        return {"method": f"{type(self.method).__name__}, {weights:,} parameters", **self.data.summary()}

    def evaluate(self) -> dict[str, float]:
        """``accuracy`` (top-1 in percent) and ``nll`` on the test images, as in a record; read them once."""
        return evaluate(self.method, self.data.target.test)[0]

    def predict(self, images: Input | None = None) -> np.ndarray:
        """Probabilities (N, K) of uint8 pixels (N, H, W, C) or (H, W, C), of image files, or of the test images.

        Images go through what the test images went through; the mean of the logits over the views is normalised.

        Args:
            images: pixels, the path of a file, or several paths; one image gives one row.

        Raises:
            UserError: the pixels have another shape or type, or a file cannot be read.
        """
        views = self.data.target.test
        if images is None:
            logits = predict(self.method, views).double() / len(views.offsets)
            return torch.softmax(logits, dim=1).numpy()
        return probabilities(Predictor(self.method, self.data.seen, views.normalize.device), images)

    def save(self, folder: str | Path) -> Network:
        """Write network and model card to a folder, which ``load`` and ``cotune-bench predict`` take.

        The test images are read for the card's scores.

        Raises:
            UserError: the network that is read back predicts otherwise: only the command line can keep it.
        """
        folder, data, settings = Path(folder).expanduser(), self.data, inspect.signature(type(self.method)).parameters
        if data.about["backbone"] is None:
            raise UserError("only networks of load_backbone can be saved")
        plain = {name: getattr(self.method, name, None) for name in list(settings)[2:]}
        plain = {name: value for name, value in plain.items() if isinstance(value, str | int | float)}
        scores = self.evaluate()
        validation = evaluate(self.method, data.target.val)[0] if len(data.target.val) else {}
        versions = environment(data.target.test.normalize.device)
        about = {
            **data.about,
            "method": {"name": type(self.method).__module__.rpartition(".")[2], **plain},
            "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **{name: scores[name] for name in ("accuracy", "nll")},
            "val_accuracy": validation.get("accuracy"),
            "versions": {name: versions[name] for name in VERSIONS},
        }
        check_writable(folder, "folder ")
        folder.mkdir(parents=True, exist_ok=True)
        write_network(folder, folder.resolve().name, self.method, data.source, data.classes, data.seen, about)
        network, test = load(folder, device="cpu"), data.target.test
        images = test.images.take(np.arange(min(4, len(test))))
        expected = probabilities(Predictor(self.method, data.seen, test.normalize.device), images)
        if not np.allclose(network.predict(images), expected, atol=1e-3):
            (folder / CARD).unlink()
            name = type(self.method).__name__
            raise UserError(f"{name} cannot be kept from Python: train it by cotune-bench run keep_checkpoint=true")
        return network

    def export(self, to: str, path: str | Path) -> list[str]:
        """As :meth:`Network.export`."""
        with TemporaryDirectory() as folder:
            return self.save(folder).export(to, path)


def load_backbone(name: str, **settings: object) -> Backbone:
    """A pre-trained network of ``conf/backbone``, with other values: ``load_backbone("resnet50", weights="V2")``."""
    config = _composed("backbone", name, settings)
    backbone = build(config.backbone, cache=Cache(Path(config.cache)).folder)
    setattr(backbone, "section", run_config(config)["backbone"])  # noqa: B010 # for a network that is saved
    return backbone


def load_protocol(name: str, **settings: object) -> Protocol:
    """The rules of ``conf/protocol``, with other values: ``load_protocol("desk", updates=20)``."""
    config = _composed("protocol", name, settings)
    return Protocol(**OmegaConf.to_container(config.protocol, resolve=True))  # type: ignore[arg-type]


def load_data(
    data: str | ImageList | Dataset,
    backbone: Backbone,
    *,
    rate: float = 1.0,
    seed: int = 0,
    split_seed: int = 0,
    protocol: Protocol | None = None,
    **settings: object,
) -> Data:
    """The images of a target task, as this backbone wants them.

    Args:
        data: name in ``conf/data``, such as ``folder``, or images of your own.
        rate: share of every class's training images, in (0, 1].
        seed: of batches, augmentation and training; ``split_seed`` of validation split and sample.
        protocol: None is the one that the data set brings; images of your own need one.
        settings: of the data set's yaml: ``load_data("folder", backbone, root="flowers")``.

    Raises:
        UserError: a name or value cannot be used, or files are missing.
    """
    named = isinstance(data, str)
    more = {"rate": rate, "seed": seed, "split_seed": split_seed}
    config = _composed("data", data if isinstance(data, str) else "digits", settings, **more)
    if protocol is None:
        if not named:
            raise UserError('images of your own need protocol=load_protocol("paper") or another')
        protocol = Protocol(**OmegaConf.to_container(config.protocol, resolve=True))  # type: ignore[arg-type]
    dataset = build(config.data) if named else data
    cache = Cache(Path(config.cache))
    target = assemble_data(dataset, backbone, protocol, folder=cache.folder, **more)
    seen = preprocessing(protocol, backbone, dataset if isinstance(dataset, ImageList) else None)
    about = {
        **more,
        "backbone": getattr(backbone, "section", None),
        "protocol": asdict(protocol),
        "data": reader_values(config) if named else {"name": target.name},
        "data_sha256": target.fingerprint,
        "images": {"train": len(target.plain), "test": len(target.test)},
    }
    return Data(target, protocol, cache.folder, seen, about, backbone)


def fit(method: Method, data: Data, *, device: str = "auto", report: Report | None = None) -> Fitted:
    """Train a method in place, as a run of the command line does: prepare, all updates, no checkpoints.

    Torch's threads and deterministic algorithms are set as for a run. A method draws its new head from torch's
    generator when it is made: ``torch.manual_seed(seed)`` before that gives the weights of the run with this seed.

    Args:
        method: made on a backbone that nothing has trained before.
        data: of :func:`load_data`, for the same backbone.
        device: auto, cpu, cuda, cuda:1.
        report: called now and then with updates done, learning rate and the means of the loss terms; None shows a
            bar in notebooks and on terminals.

    Raises:
        UserError: the method does not fit the data, or its backbone was trained before.
    """
    if getattr(method.trunk, "trained", False):
        raise UserError("this backbone was trained before: load_backbone gives its pre-trained weights again")
    place = devices(device)[0]
    assemble(method, data.target, data.protocol, place)
    method, data = method.to(place), replace(data, target=data.target.to(place))
    setattr(method.trunk, "trained", True)  # noqa: B010
    updates = data.protocol.updates
    with nullcontext(report) if report else shown_bar(type(method).__name__, updates) as reported:
        engine.fit(
            method,
            data.target,
            data.protocol,
            seed=data.target.train.seed,
            cache=Cache(data.cache),
            report=reported,
            report_every=50 if report else max(1, min(50, updates // 20)),
        )
    return Fitted(method, data)


def _composed(group: str, name: str, settings: Mapping[str, object], **more: object) -> DictConfig:
    """The configuration in which this choice of a group has these settings."""
    own = {f"{group}.{key}": value for key, value in settings.items()}
    given = [f"{key}={value_text(value)}" for key, value in {**own, **more}.items()]
    return compose_config([f"{group}={name}", *given])
