"""A few lines for notebooks: backbone, data, method, fit, predict; engine and rules are the command line's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from cotune_bench.backbones.base import Backbone
from cotune_bench.config import build, compose_config
from cotune_bench.config.overrides import quoted
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.dataset import Dataset, ImageList
from cotune_bench.data.target import TargetData
from cotune_bench.errors import UserError
from cotune_bench.inference.evaluate import evaluate, predict
from cotune_bench.inference.execution import devices
from cotune_bench.inference.kept_network import preprocessing
from cotune_bench.inference.predict import Predictor, predict_files
from cotune_bench.methods.base import Method
from cotune_bench.storage.cache import Cache
from cotune_bench.training import engine
from cotune_bench.training.assemble import assemble, assemble_data


@dataclass(frozen=True)
class Data:
    """Images of a target task, split and sampled, under the protocol that trains and tests on them.

    Attributes:
        target: batches and views; ``data.target.train(0)`` is the first batch.
        protocol: schedule, augmentation, views and split.
        cache: folder of weights and statistics.
        seen: what an image goes through before the network sees it.
    """

    target: TargetData
    protocol: Protocol
    cache: Path
    seen: Mapping[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes, in the order of the outputs."""
        return self.target.classes


@dataclass(frozen=True)
class Fitted:
    """A trained method and the data it was trained on."""

    method: Method
    data: Data

    def evaluate(self) -> dict[str, float]:
        """``accuracy`` (top-1 in percent) and ``nll`` on the test images, as in a record; read them once."""
        return evaluate(self.method, self.data.target.test)[0]

    def predict(self, images: np.ndarray | Sequence[str | Path] | None = None) -> np.ndarray:
        """Probabilities (N, K) of pixels (N, H, W, C) in uint8, of image files, or of the test images.

        Images go through what the test images went through; the mean of the logits over the views is normalised.

        Raises:
            UserError: the pixels have another shape or type, or a file cannot be read.
        """
        views = self.data.target.test
        if images is None:
            logits = predict(self.method, views).double() / len(views.offsets)
            return torch.softmax(logits, dim=1).numpy()
        predictor = Predictor(self.method, self.data.seen, views.normalize.device)
        if not isinstance(images, np.ndarray):
            return predict_files(predictor, [Path(file).expanduser() for file in images])[1].probabilities
        if images.ndim != 4 or images.dtype != np.uint8:
            raise UserError(f"images are {images.dtype} {images.shape}: give uint8 pixels (N, H, W, C), or files")
        rows, labels = np.arange(len(images)), np.zeros(len(images), np.int64)
        given = Dataset(name="images", pixels=images, labels=labels, classes=("",), test=rows)
        return predictor(given, rows).probabilities


def load_backbone(name: str, **settings: object) -> Backbone:
    """A pre-trained network of ``conf/backbone``, with other values: ``load_backbone("resnet50", weights="V2")``."""
    config = _composed("backbone", name, settings)
    return build(config.backbone, cache=Cache(Path(config.cache)).folder)


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
    return Data(target, protocol, Path(config.cache), seen)


def fit(method: Method, data: Data, *, device: str = "auto", report: engine.Report | None = None) -> Fitted:
    """Train a method in place, as a run of the command line does: prepare, all updates, no checkpoints.

    Torch's threads and deterministic algorithms are set as for a run. A method draws its new head from torch's
    generator when it is made: ``torch.manual_seed(seed)`` before that gives the weights of the run with this seed.

    Args:
        method: made on a backbone that nothing has trained before.
        data: of :func:`load_data`, for the same backbone.
        device: auto, cpu, cuda, cuda:1.
        report: called now and then with updates done, learning rate and the means of the loss terms.

    Raises:
        UserError: the method does not fit the data, or its backbone was trained before.
    """
    if getattr(method.trunk, "trained", False):
        raise UserError("this backbone was trained before: load_backbone gives its pre-trained weights again")
    place = devices(device)[0]
    assemble(method, data.target, data.protocol, place)
    method, data = method.to(place), replace(data, target=data.target.to(place))
    setattr(method.trunk, "trained", True)  # noqa: B010
    engine.fit(
        method,
        data.target,
        data.protocol,
        seed=data.target.train.seed,
        cache=Cache(data.cache),
        report=report or (lambda updates, lr, terms: None),
    )
    return Fitted(method, data)


def _composed(group: str, name: str, settings: Mapping[str, object], **more: object) -> DictConfig:
    """The configuration in which this choice of a group has these settings."""
    own = {f"{group}.{key}": value for key, value in settings.items()}
    return compose_config([f"{group}={name}", *(f"{key}={_text(value)}" for key, value in {**own, **more}.items())])


def _text(value: object) -> str:
    """A value in the grammar of the command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, str | Path):
        return quoted(value)
    return "null" if value is None else str(value).lower()
