"""People's own images: what their data set is called, and ``protocol=auto``, which follows from its size."""

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cotune_bench.config.by_rate import by_rate
from cotune_bench.errors import UserError

#: Choices of ``data`` whose images are the user's own: nothing but the folder tells which.
OWN_IMAGES = ("folder", "imagelist")
NAME = re.compile(r"[\w.-]+")

BATCH = 48
#: Passes over the images that small sets get, and that large ones get at least.
PASSES, LEAST_PASSES = 60, 20
#: Between them the number of updates is the paper's; below, it falls with the images to this many.
MOST, LEAST = 9000, 1500
ROUND = 100
#: Share of the updates after which the rate drops, the paper's 6,000 of 9,000.
DROP = 2 / 3


def own_images(section: Mapping[str, Any] | DictConfig) -> bool:
    """Whether a ``data`` section reads the user's own images."""
    return section.get("reader") in OWN_IMAGES


def folder_name(root: str) -> str:
    """A folder's name as records and tables call its data set; never that of a published data set."""
    from cotune_bench.config.compose import choices

    name = re.sub(r"[^\w.-]+", "-", Path(root).expanduser().resolve().name).strip("-.") or "images"
    return f"my-{name}" if name in choices("data") and name not in OWN_IMAGES else name


def check_name(name: object) -> None:
    """UserError for a name that cannot name files, or that a published data set has."""
    from cotune_bench.config.compose import choices

    if not isinstance(name, str) or not NAME.fullmatch(name) or name.startswith("."):
        raise UserError(f"data.name={name} cannot be used: it names files, use letters, digits, '_', '-' and '.'")
    if name in choices("data") and name not in OWN_IMAGES:
        raise UserError(f"data.name={name} is the name of a published data set: choose another")


def usual_rate(reader: str) -> float:
    """The sampling rate where none is given: all images of a folder, else the paper's smallest."""
    return 1.0 if reader == "folder" else 0.15


# protocol=auto ------------------------------------------------------------------------------------------------------


def updates_for(images: int) -> int:
    """Number of updates of 48 images for a training set of this size: docs/own-images.md tells why."""
    wanted = min(max(images * PASSES / BATCH, LEAST), MOST)
    return ROUND * round(max(wanted, images * LEAST_PASSES / BATCH) / ROUND)


def drop_after(updates: int) -> list[int]:
    """After how many updates the learning rate drops."""
    return [max(round(DROP * updates), 1)]


def training_images(section: DictConfig) -> int:
    """Number of images a data set gives for training and validation, before sampling at a rate.

    Raises:
        UserError: the data set is not there, or gives a sample in place of all its images.
    """
    if section.get("sampled"):
        raise UserError(
            "protocol=auto counts the whole training set and data.sampled=true names a sample of it: "
            "set data.sampled=false, or choose protocol=paper"
        )
    values = OmegaConf.to_container(section, resolve=True)
    assert isinstance(values, dict)  # noqa: S101
    if "skip_bad" in values:
        values["skip_bad"] = False  # whether a file can be read is seen later, and changes the number little
    if "split_seed" in values:
        values["split_seed"] = 0  # every split holds out the same number of images
    return _counted(json.dumps(values, sort_keys=True))


@functools.cache
def _counted(section: str) -> int:
    from cotune_bench.config.compose import build

    data = build(DictConfig(json.loads(section)))
    return len(data.train) + (0 if data.val is None else len(data.val))


def auto_line(config: DictConfig) -> str:
    """What ``protocol=auto`` chose, and from what, in one line."""
    protocol, images = config.protocol, training_images(config.data)
    drops = " and ".join(f"{step:,}" for step in protocol.drop_at)
    passes, rule = protocol.updates * protocol.batch_size / images, updates_for(images)
    told = f"{passes:,.0f}" if passes >= 100 else f"{passes:.3g}"
    why = "so" if protocol.updates == rule else f"{rule:,} updates by the rule, as asked"
    return (
        f"protocol auto: {images:,} training and validation images, {why} {protocol.updates:,} updates of "
        f"{protocol.batch_size} ({told} passes), learning rate dropped after {drops}; crops of {protocol.crop} "
        f"from {protocol.resize} pixels, test views {protocol.views}; precision {protocol.precision}"
    )


def register_resolvers() -> None:
    """Make the functions known that the yaml files call."""
    OmegaConf.register_new_resolver("own_name", folder_name, replace=True)
    OmegaConf.register_new_resolver(
        "auto_updates", lambda *, _root_: updates_for(training_images(_root_.data)), replace=True
    )
    OmegaConf.register_new_resolver("usual_rate", usual_rate, replace=True)
    OmegaConf.register_new_resolver(
        "of_replicate", lambda usual, *, _root_: usual if _root_.replicate is None else _root_.replicate, replace=True
    )
    OmegaConf.register_new_resolver("auto_drop", drop_after, replace=True)
    OmegaConf.register_new_resolver("by_rate", by_rate, replace=True)
