"""The trained network of a run, kept beside its record: weights as safetensors, a card that describes them."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load, save
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.backbones.plain_network import Plain
from cotune_bench.config import with_targets
from cotune_bench.config.own_images import own_images
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.inference.execution import compute_as
from cotune_bench.inference.model_card import card_text
from cotune_bench.methods.assemble import make_backbone, make_method
from cotune_bench.methods.base import Method
from cotune_bench.storage.escape import plain
from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.find_run import CARD, Run
from cotune_bench.storage.records import Record

log = logging.getLogger(__name__)

SCHEMA = 2
WEIGHTS, TEXT = "model.safetensors", "model_card.md"
VERSIONS = ("version", "commit", "python", "torch", "numpy", "device")
AGAIN = "run its command again with keep_checkpoint=true force=true"


@dataclass(frozen=True)
class Kept:
    """A kept network.

    Attributes:
        folder: of the run.
        card: content of ``model.json``.
    """

    folder: Path
    card: dict[str, Any]

    @classmethod
    def of(cls, run: Run) -> "Kept":
        """The kept network of a run; UserError if the run has no kept network or its card cannot be read."""
        path = run.folder / CARD
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{run.key} has no kept weights ({path} is missing): {AGAIN}") from error
        except (ValueError, OSError) as error:
            raise UserError(f"{path} cannot be read ({error}): {AGAIN}") from error
        if not isinstance(card, dict) or card.get("schema") != SCHEMA:
            raise UserError(f"{path} is no model card of this version (schema {SCHEMA}): {AGAIN}")
        if wrong := wrong_in(card):
            raise UserError(f"{path} cannot be used ({wrong}): {AGAIN}")
        return cls(run.folder, card)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes in the order of the outputs."""
        return tuple(self.card["classes"])

    def method(self) -> Method:
        """The trained method in evaluation mode, in the precision and memory layout of its run; on the CPU.

        Raises:
            UserError: the file is damaged, or this version builds other layers.
        """
        try:
            method = self._built()
        except Exception as error:  # a card that somebody changed raises any of a dozen kinds
            if str(self.folder) in str(error):
                raise
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"{self.folder / CARD} fits no network ({reason}): {AGAIN}") from error
        compute_as(method, self.card["precision"], self.card["input"]["crop"])
        return method.eval()

    def _built(self) -> Method:
        card, folder = self.card, self.folder
        sections = {group: OmegaConf.create(with_targets(group, card[group])) for group in ("backbone", "method")}
        backbone = make_backbone(sections["backbone"], folder, random=True)
        classes = len(card["source"]["classes"])
        backbone.source_head = nn.Linear(backbone.width, classes) if classes else None
        task = Classification(len(self.classes))
        method, _ = make_method(sections["method"], backbone, task, folder, random=True)
        try:
            method.load_state_dict(load(self._weights()))
        except RuntimeError as error:
            raise UserError(f"{folder / WEIGHTS} has layers of another version: {AGAIN}") from error
        return method

    def plain(self) -> tuple[Plain, nn.Module]:
        """The network as its own library builds it, with its trained weights; UserError if the method is not one."""
        parts, plain = self.method().plain(), self.card["network"]
        if parts is None or plain is None:
            name = self.card["method"]["name"]
            raise UserError(f"method {name} predicts with more than one plain network: it cannot be exported")
        plain = Plain(**plain)
        network = plain.build()
        network.load_state_dict(plain.state(*parts))
        return plain, network

    def _weights(self) -> bytes:
        path = self.folder / WEIGHTS
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): {AGAIN}") from error
        if hashlib.sha256(content).hexdigest() != self.card["files"][WEIGHTS]:
            raise UserError(f"{path} is damaged (not the file that {CARD} was written with): {AGAIN}")
        return content


#: Types of the values of a card that are read.
FIELDS = {"classes": list, "input": dict, "source": dict, "method": dict, "backbone": dict, "files": dict}
FIELDS |= {"data": dict, "protocol": dict, "precision": str, "key": str, "accuracy": (int, float)}
SIDES, PIXELS = ("resize", "crop"), 4096  # at most


def wrong_in(card: Mapping[str, Any]) -> str:
    """What cannot be in a card; empty if nothing is found."""
    if wrong := [name for name, kind in FIELDS.items() if not isinstance(card.get(name), kind)]:
        return f"its {wrong[0]} is {str(card.get(wrong[0]))[:40]}"
    if not card["classes"] or not all(plain(name) == name for name in card["classes"]):
        return "its classes are no list of names"
    if not all(isinstance(card["input"].get(name), int) and 0 < card["input"][name] <= PIXELS for name in SIDES):
        return f"its input has sides outside 1 to {PIXELS} pixels"
    return ""


def keeping(config: DictConfig, method: Method) -> bool:
    """Whether the trained network is to be kept: as asked for; ``auto`` means people's own images.

    Raises:
        UserError: it is asked for, and the method has no network.
    """
    if config.keep_checkpoint is False or (config.keep_checkpoint == "auto" and not own_images(config.data)):
        return False
    if all(isinstance(value, Tensor) for value in method.state_dict().values()):
        return True
    line = f"method {config.method.name} has no network that could be kept"
    if config.keep_checkpoint is True:
        raise UserError(f"{line}: set keep_checkpoint=false")
    log.warning(line)
    return False


def keep(
    config: DictConfig,
    record: Record,
    method: Method,
    backbone: Backbone,
    classes: Sequence[str],
    files: ImageList | None,
    folder: Path,
) -> None:
    """Write state and card of a run's trained method; the card, which says that all is there, comes last.

    ``files`` is the data set that the reader gave, None where it gave pixels.
    """
    scores = ("finished", "accuracy", "nll", "val_accuracy", "data_sha256")
    about = {
        **{name: getattr(record, name) for name in scores},
        "images": {"train": record.train_images, "test": record.test_images},
        **{name: record.config[name] for name in ("method", "backbone", "protocol", "rate", "seed", "split_seed")},
        "data": reader_values(config),
        "versions": {name: record.environment[name] for name in VERSIONS},
    }
    seen = preprocessing(config.protocol, backbone, files)
    write_network(folder, record.key, method, backbone, classes, seen, about)


def write_network(
    folder: Path,
    key: str,
    method: Method,
    backbone: Backbone,
    classes: Sequence[str],
    seen: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Write state and card of a trained method.

    Args:
        key: its name in the card.
        seen: of :func:`preprocessing`.
        about: scores and settings, for the card.
    """
    info, plain = backbone.info, backbone.plain and replace(backbone.plain, num_classes=len(classes))
    foldable = plain is not None and (parts := method.plain()) is not None and plain.fits(*parts)
    state = {name: value.cpu().contiguous() for name, value in method.state_dict().items()}
    content = save(state, metadata={"format": "pt"})
    card = {
        "schema": SCHEMA,
        "key": key,
        **about,
        "classes": list(classes),
        "input": dict(seen),
        "precision": method.precision,
        "network": plain.to_dict() if plain and foldable else None,
        "source": {
            "backbone": backbone.name,
            "weights": info.weights,
            "sha256": info.sha256,
            "licence": plain.licence(info.weights) if plain else "The terms of their publisher hold.",
            "classes": list(info.classes),
        },
        "files": {WEIGHTS: hashlib.sha256(content).hexdigest()},
    }
    (folder / CARD).unlink(missing_ok=True)
    write_atomically(folder / WEIGHTS, content)
    write_atomically(folder / TEXT, card_text(card, WEIGHTS).encode())
    write_atomically(folder / CARD, (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())


def reader_values(config: DictConfig) -> dict[str, Any]:
    """All values of the data set's reader, its folder from the top: what reads the same test images again."""
    values = OmegaConf.to_container(config.data, resolve=True)
    assert isinstance(values, dict)  # noqa: S101
    if "root" in values:
        values["root"] = str(Path(str(values["root"])).expanduser().resolve())
    return {str(name): value for name, value in values.items() if name != "cache"}


def preprocessing(protocol: DictConfig | Protocol, backbone: Backbone, files: ImageList | None) -> dict[str, Any]:
    """What an image goes through before the network sees it; ``files`` is None where images came as pixels."""
    return {
        "channels": len(backbone.info.mean),
        **{name: getattr(protocol, name) for name in ("resize", "resize_mode", "resize_filter", "crop", "views")},
        "upright": files is not None and files.upright,
        "crop_bottom": files.crop_bottom if files else 0,
        "mean": list(backbone.info.mean),
        "std": list(backbone.info.std),
    }
