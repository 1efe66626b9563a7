"""torchvision's ResNet, DenseNet and Inception-V3 as backbones, under torchvision's own layer names."""

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import DenseNet, Inception3, ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

from cotune_bench.backbones.base import Backbone, state_sha256
from cotune_bench.backbones.plain_network import Plain
from cotune_bench.backbones.trunk import Trunk
from cotune_bench.backbones.weights import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    fetch,
    file_sha256,
    fill,
    read_state,
    source_info,
    without_classifier,
)
from cotune_bench.errors import UserError, suggest

SHORT_NAMES = {"V1": "IMAGENET1K_V1", "V2": "IMAGENET1K_V2"}
#: Weights of networks for other tasks, by the model that is their trunk; they have no classifier.
OTHER_TASKS = {
    "resnet50": {
        "maskrcnn": models.detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
        "keypointrcnn": models.detection.KeypointRCNN_ResNet50_FPN_Weights.COCO_V1,
        "deeplabv3": models.segmentation.DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1,
    }
}
OPTIONS = {"inception_v3": {"aux_logits": False, "init_weights": False}}
FAMILIES = ("resnet", "resnext", "wide_resnet", "densenet", "inception_v3")
SEED = 0  # of random weights
IMAGENET_CLASSES = 1000


def load(
    name: str,
    cache: Path,
    *,
    model: str,
    weights: str,
    temperature: float | None,
    temperature_logits: str | None,
    taps: Sequence[str],
    base_url: str | None = None,
) -> Backbone:
    """A network of torchvision with published weights, those of a file, or random ones.

    Args:
        name: the name of the configuration.
        cache: published weights are kept in its folder ``weights``.
        model: torchvision's name of a ResNet, DenseNet or Inception-V3.
        weights: ``V1``, ``V2`` (or torchvision's full names), a name of :data:`OTHER_TASKS`, ``random``, or the path
            of a state dict, also that of a file beside published weights in the cache.
        temperature: of the source softmax; None: that known of these weights, else 1.
        temperature_logits: ``.npz`` file of logits and labels to fit the temperature on.
        taps: convolutions that DELTA compares.
        base_url: a mirror of torchvision's weights.

    Raises:
        UserError: unknown model or weights, no connection, a wrong hash, or weights of another architecture.
    """
    if model not in known_models():
        raise UserError(f"backbone.model={model} is unknown: {suggest(model, known_models())}, or use backbone=timm")
    label, path, sha256 = _weights(model, weights, Path(cache).expanduser() / "weights", base_url)
    state = None if path is None else with_current_names(read_state(path))
    bare = None if state is None else without_classifier(state)
    network = build(model, source_classes(state or {}))
    if path is None or state is None:
        sha256 = state_sha256(network.state_dict())
    elif bare is None:
        fill(network, state, path, model)
    trunk, head = take_apart(network)
    width, classes = head.in_features, head.out_features
    if path is not None and bare is not None:
        fill(trunk, bare, path, f"the trunk of {model}")
        head, classes = None, 0
    # torchvision feeds Inception-V3 images scaled to [-1, 1]: it undoes ImageNet's statistics inside the model
    half = (0.5, 0.5, 0.5)
    mean, std = (half, half) if isinstance(network, Inception3) else (IMAGENET_MEAN, IMAGENET_STD)
    info = source_info(label, sha256, classes, mean, std, temperature, temperature_logits)
    blocks = [layer for layer, module in trunk.named_modules() if isinstance(module, BasicBlock | Bottleneck)]
    last = "classifier" if model.startswith("densenet") else "fc"
    plain = Plain("torchvision", model, head=last, options=OPTIONS.get(model, {}))
    return Backbone(name, trunk, head, info, blocks=blocks, taps=taps, plain=plain, width=width)


def known_models() -> list[str]:
    """Names in torchvision of the networks that can be taken apart here."""
    return [model for model in models.list_models(module=models) if model.startswith(FAMILIES)]


def build(model: str, num_classes: int = IMAGENET_CLASSES) -> ResNet | DenseNet | Inception3:
    """The network with random weights, always the same ones, without Inception's auxiliary classifier."""
    options = OPTIONS.get(model, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return models.get_model(model, weights=None, num_classes=num_classes, **options)  # pyright: ignore[reportReturnType]


def take_apart(network: ResNet | DenseNet | Inception3) -> tuple[Trunk, nn.Linear]:
    """(trunk, head): images (B, 3, H, W) to features (B, width), features to logits (B, S).

    The network's children stand in the order of its forward pass, the head last.
    """
    *stages, (_, head) = network.named_children()
    if isinstance(network, DenseNet):  # these two are no modules there
        stages += [("relu", nn.ReLU(inplace=True)), ("avgpool", nn.AdaptiveAvgPool2d(1))]
    trunk = Trunk(OrderedDict([*stages, ("flatten", nn.Flatten())]))
    return trunk, head  # pyright: ignore[reportReturnType]


def with_current_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without auxiliary classifier and under today's names: DenseNet is published with older ones."""
    older = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)")
    return {older.sub(r"\1\2", key): value for key, value in state.items() if not key.startswith("AuxLogits.")}


def source_classes(state: dict[str, Tensor]) -> int:
    """Number of classes of the head in a state dict; ImageNet's if it has none."""
    heads = [state[key] for key in ("fc.weight", "classifier.weight") if key in state]
    return len(heads[0]) if heads and heads[0].ndim else IMAGENET_CLASSES


def _weights(model: str, weights: str, folder: Path, base_url: str | None) -> tuple[str, Path | None, str]:
    """(name for the record, file or None for random, SHA-256 of the file)."""
    if weights == "random":
        return weights, None, ""
    published = {entry.name: entry for entry in models.get_model_weights(model)}
    label = SHORT_NAMES.get(weights, weights)
    if label in published:
        return label, *fetch(published[label].url, folder, base_url=base_url)
    others = OTHER_TASKS.get(model, {})
    if weights in others:
        return f"{weights} {others[weights].name}", *fetch(others[weights].url, folder, base_url=base_url)
    path = Path(weights).expanduser()
    if not path.is_file() and (folder / path.name).is_file() and path.name == weights:
        path = folder / weights
    if not path.is_file():
        offered = [*(short for short, long in SHORT_NAMES.items() if long in published), *others]
        raise UserError(
            f"backbone.weights={weights} is no file here or in {folder} and no name of weights for {model}: "
            f"choose {', '.join(offered)}, random or the path of a state dict"
        )
    return path.name, path, file_sha256(path)
