"""A user's own images: the name of their data set, and their number, from which ``protocol=auto`` follows."""

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cotune_bench.config.build import build
from cotune_bench.config.groups import choices
from cotune_bench.errors import UserError, count

#: Choices of ``data`` whose images are the user's own: only the folder identifies them.
OWN_IMAGES = ("folder", "imagelist")
NAME = re.compile(r"[\w.-]{1,150}")
#: ``protocol=auto``, for which docs/own-images.md gives the reasons: passes over the images that small sets get, and
#: that large ones get at least; between them the number of updates is the paper's, below it falls to ``LEAST``.
PASSES, LEAST_PASSES, MOST, LEAST = 60, 20, 9000, 1500
BATCH, ROUND = 48, 100
#: Share of the updates after which the rate drops, the paper's 6,000 of 9,000.
DROP = 2 / 3


def own_images(section: Mapping[str, Any] | DictConfig) -> bool:
    """Whether a ``data`` section reads the user's own images."""
    return section.get("reader") in OWN_IMAGES


def folder_name(root: str) -> str:
    """A folder's name as records and tables call its data set; never that of a published data set."""
    name = re.sub(r"[^\w.-]+", "-", Path(root).expanduser().resolve().name)[:150].strip("-.") or "images"
    return f"my-{name}" if name in choices("data") and name not in OWN_IMAGES else name


def check_name(name: object) -> None:
    """UserError for a name that cannot name files, or that a published data set has."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or name.startswith("."):
        raise UserError(
            f"data.name={name} cannot be used: it names files, use at most 150 letters, digits, '_', '-' and '.'"
        )
    if name in choices("data") and name not in OWN_IMAGES:
        raise UserError(f"data.name={name} is the name of a published data set: choose another")


def updates_for(images: int) -> int:
    """Number of updates of 48 images that ``protocol=auto`` gives a training set of this size."""
    wanted = min(max(images * PASSES / BATCH, LEAST), MOST)
    return ROUND * round(max(wanted, images * LEAST_PASSES / BATCH) / ROUND)


def usual_rate(reader: str) -> float:
    """The sampling rate where none is given: all images of a folder, else the paper's smallest."""
    return 1.0 if reader == "folder" else 0.15


def training_images(section: DictConfig) -> int:
    """Number of images of a data set for training and validation, before sampling at a rate.

    Raises:
        UserError: the data set is absent, or is a sample in place of all its images.
    """
    if section.get("sampled"):
        raise UserError(
            "protocol=auto counts the whole training set and data.sampled=true names a sample of it: "
            "set data.sampled=false, or choose protocol=paper"
        )
    values: Any = OmegaConf.to_container(section, resolve=True)
    # Files that cannot be read are found later and change the number little; every split holds out as many images.
    return _counted(json.dumps(values | {name: 0 for name in ("skip_bad", "split_seed") if name in values}))


@functools.cache
def _counted(section: str) -> int:
    data = build(DictConfig(json.loads(section)))
    return len(data.train) + (0 if data.val is None else len(data.val))


def auto_line(config: DictConfig) -> str:
    """What ``protocol=auto`` chose, and why, in one line."""
    protocol, images = config.protocol, training_images(config.data)
    drops = " and ".join(f"{step:,}" for step in protocol.drop_at)
    passes, rule = protocol.updates * protocol.batch_size / images, updates_for(images)
    often = f"{passes:,.0f}" if passes >= 100 else f"{passes:.3g}"
    why = "so" if protocol.updates == rule else f"{rule:,} updates by the rule, as asked"
    noun = "files" if config.data.get("skip_bad") else "images"  # those that cannot be read are counted, too
    return (
        f"protocol auto: {images:,} training and validation {noun}, {why} {count(protocol.updates, 'update')} of "
        f"{protocol.batch_size} ({often} passes over them), learning rate dropped after {drops}; "
        f"crops of {protocol.crop} from {protocol.resize} pixels, test views {protocol.views}; "
        f"precision {protocol.precision}"
    )
