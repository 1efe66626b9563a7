"""The trained network of a run, kept beside its record: weights as safetensors, a card that tells of them."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from cotune_bench.config.own_images import own_images
from cotune_bench.config.protocol import channels_last
from cotune_bench.errors import UserError
from cotune_bench.storage.files import write_atomically
from cotune_bench.storage.find_run import Run
from cotune_bench.storage.records import Record

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor, nn

    from cotune_bench.backbones.plain_network import Plain
    from cotune_bench.training.experiment import Experiment

log = logging.getLogger(__name__)

SCHEMA = 1
WEIGHTS, SOURCE_HEAD, CARD, TEXT = "model.safetensors", "source_head.safetensors", "model.json", "model_card.md"
VERSIONS = ("version", "commit", "python", "torch", "numpy", "device")
AGAIN = "run its command again with keep_checkpoint=true force=true"


def require_kept(config: DictConfig, key: str) -> None:
    """UserError if weights are asked for of a run that was finished without keeping them."""
    if config.keep_checkpoint is True and not (Path(config.results) / "runs" / key / CARD).is_file():
        raise UserError(
            f"{key} was finished before and its weights were not kept: force=true trains it again and keeps them"
        )


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
        """That of a run; UserError if there is none or its card cannot be read."""
        path = run.folder / CARD
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{run.key} has no kept weights ({path} is missing): {AGAIN}") from error
        except (ValueError, OSError) as error:
            raise UserError(f"{path} cannot be read ({error}): {AGAIN}") from error
        if not isinstance(card, dict) or card.get("schema") != SCHEMA:
            raise UserError(f"{path} is no model card of this version (schema {SCHEMA}): {AGAIN}")
        return cls(run.folder, card)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes in the order of the outputs."""
        return tuple(self.card["classes"])

    def state(self) -> dict[str, "Tensor"]:
        """State dict of the plain network; UserError if the file is damaged."""
        return self._tensors(WEIGHTS)

    def network(self) -> "nn.Module":
        """The plain network with its trained weights, in evaluation mode."""
        from cotune_bench.backbones.plain_network import Plain

        network = Plain(**self.card["network"]).build()
        network.load_state_dict(self.state())
        return network

    def source_head(self) -> dict[str, "Tensor"]:
        """Weight (S, width) and bias (S,) of the source head; UserError if the method trained none."""
        if SOURCE_HEAD not in self.card["files"]:
            method = self.card["method"]["name"]
            raise UserError(f"{self.card['key']} has no source head (method {method}): --explain is for cotuning")
        return self._tensors(SOURCE_HEAD)

    def _tensors(self, name: str) -> dict[str, "Tensor"]:
        from safetensors.torch import load

        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): {AGAIN}") from error
        if hashlib.sha256(content).hexdigest() != self.card["files"][name]:
            raise UserError(f"{path} is damaged (not the file that {CARD} was written with): {AGAIN}")
        return load(content)


def keeping(experiment: "Experiment") -> bool:
    """Whether the trained network is to be kept: as asked for; ``auto`` means people's own images.

    Raises:
        UserError: it is asked for, and the method predicts with more than a plain network.
    """
    config = experiment.config
    if config.keep_checkpoint is False or (config.keep_checkpoint == "auto" and not own_images(config.data)):
        return False
    try:
        _require_plain(experiment)
    except UserError as error:
        if config.keep_checkpoint is True:
            raise
        log.warning("the trained network is not kept: %s", error)
        return False
    return True


def _require_plain(experiment: "Experiment") -> None:
    name, found, plain = experiment.config.method.name, experiment.method.plain(), _plain(experiment)
    if found is None or not plain.fits(*found):
        raise UserError(
            f"method {name} does not predict with a plain {plain.model}, which is all that can be kept: "
            "set keep_checkpoint=false"
        )


def _plain(experiment: "Experiment") -> "Plain":
    """The network that is left of a run."""
    plain = experiment.backbone.plain
    if plain is None:
        raise UserError(
            f"backbone {experiment.backbone.name} is not built by another library: set keep_checkpoint=false"
        )
    return replace(plain, num_classes=len(experiment.data.classes))


def keep(experiment: "Experiment", record: Record, folder: Path) -> None:
    """Write weights and card of a trained run; the card, which says that all is there, comes last."""
    from safetensors.torch import save

    method = experiment.method
    found = method.plain()
    assert found is not None  # noqa: S101
    plain = _plain(experiment)
    contents = {WEIGHTS: save(plain.state(*found), metadata={"format": "pt", "key": record.key})}
    source = getattr(method, "source_head", None)
    if source is not None:
        contents[SOURCE_HEAD] = save({name: value.cpu().contiguous() for name, value in source.state_dict().items()})
    card = {
        "schema": SCHEMA,
        "key": record.key,
        **{name: getattr(record, name) for name in ("finished", "accuracy", "nll", "val_accuracy", "data_sha256")},
        "images": {"train": record.train_images, "test": record.test_images},
        **{name: record.config[name] for name in ("method", "backbone", "protocol", "rate", "seed", "split_seed")},
        "data": _reader(experiment.config),
        "classes": list(experiment.data.classes),
        "input": _input(experiment),
        "precision": method.precision,
        "network": plain.to_dict(),
        "source": {
            "backbone": record.backbone,
            "weights": record.weights,
            "sha256": record.weights_sha256,
            "licence": plain.licence(record.weights),
            **({} if source is None else {"classes": list(experiment.backbone.info.classes)}),
        },
        "versions": {name: record.environment[name] for name in VERSIONS},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    (folder / CARD).unlink(missing_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    write_atomically(folder / TEXT, card_text(card).encode())
    write_atomically(folder / CARD, (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())


def _reader(config: DictConfig) -> dict[str, Any]:
    """All values of the data set's reader, its folder from the top: what reads the same test images again."""
    values = OmegaConf.to_container(config.data, resolve=True)
    assert isinstance(values, dict)  # noqa: S101
    if "root" in values:
        values["root"] = str(Path(str(values["root"])).expanduser().resolve())
    return {str(name): value for name, value in values.items() if name != "cache"}


def _input(experiment: "Experiment") -> dict[str, Any]:
    """What an image goes through before the network sees it."""
    protocol, info, files = experiment.protocol, experiment.backbone.info, experiment.files
    return {
        "channels": len(info.mean),
        **{name: getattr(protocol, name) for name in ("resize", "resize_mode", "resize_filter", "crop", "views")},
        "upright": files is not None and files.upright,
        "crop_bottom": files.crop_bottom if files else 0,
        "mean": list(info.mean),
        "std": list(info.std),
    }


def card_text(card: Mapping[str, Any]) -> str:
    """The model card for people, Markdown."""
    seen, source, images, protocol = card["input"], card["source"], card["images"], card["protocol"]
    validation = "" if card["val_accuracy"] is None else f" (validation {card['val_accuracy']:.2f} %)"
    settings = {name: value for name, value in card["method"].items() if name not in ("name", "_target_")}
    told = ", ".join(f"{name} {value}" for name, value in settings.items())
    versions = ", ".join(f"{name} {value}" for name, value in card["versions"].items())
    classes = "\n".join(f"{number}. {name}" for number, name in enumerate(card["classes"]))
    return f"""# {card["key"]}

| | |
|---|---|
| data | {card["data"]["name"]}: {images["train"]} training and {images["test"]} test images, \
{len(card["classes"])} classes |
| method | {card["method"]["name"]}{f" ({told})" if told else ""} |
| protocol | {protocol["name"]}: {protocol["updates"]} updates of {protocol["batch_size"]} images; \
rate {card["rate"]:g}, seed {card["seed"]}, split seed {card["split_seed"]} |
| test accuracy | {card["accuracy"]:.2f} %{validation}, views {seen["views"]} |
| network | {card["network"]["model"]} of {card["network"]["library"]}, {len(card["classes"])} outputs |
| input | {seen["channels"]} channels; {"turned as EXIF asks; " if seen["upright"] else ""}\
{seen["resize_mode"]} to {seen["resize"]} px ({seen["resize_filter"]}), crop \
{seen["crop"]} px, scaled to [0, 1], mean {seen["mean"]}, std {seen["std"]} |
| computed in | {card["precision"]}{", channels last" if channels_last(seen["crop"]) else ""} |
| source weights | {source["backbone"]} {source["weights"]}, SHA-256 {source["sha256"] or "none"} |
| licence | {source["licence"]} The training images' own terms hold, too. |
| versions | {versions} |
| finished | {card["finished"]} |

`{WEIGHTS}` holds the network alone; `{CARD}` tells the same as this page, for programs.

## Classes, in the order of the outputs

{classes}
"""
