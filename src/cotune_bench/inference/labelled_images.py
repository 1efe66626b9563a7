"""Labelled images that a kept network can be evaluated on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from cotune_bench.config import build, compose_config
from cotune_bench.data.dataset import Dataset, ImageList
from cotune_bench.data.readers.folder import class_folders, in_order, scan
from cotune_bench.errors import UserError, some, suggest
from cotune_bench.inference.kept_network import Kept


def labelled_images(kept: Kept, folder: str | None = None, settings: Sequence[str] = ()) -> ImageList | Dataset:
    """Images whose ``test`` part is to be evaluated, labelled as the kept network counts its classes.

    Args:
        folder: of class folders, all of whose images count, or those of its ``test/`` if that has class folders.
        settings: ``data=NAME`` and ``data.root=...``, which change those of the run; without, its own test images.

    Raises:
        UserError: there are no such images, or their classes are others than the run's.
    """
    images = _in_folder(Path(folder).expanduser()) if folder else build(_section(kept, settings))
    if images.classes == kept.classes:
        return images
    missing = [name for name in kept.classes if name not in images.classes]
    unknown = [name for name in images.classes if name not in kept.classes]
    if missing or unknown:
        found = [f"{kind} {some(names)}" for kind, names in (("lacks", missing), ("also has", unknown)) if names]
        raise UserError(f"data {images.name} has other classes than {kept.card['key']}: it {' and '.join(found)}")
    place = np.array([kept.classes.index(name) for name in images.classes])
    return replace(images, labels=place[images.labels], classes=kept.classes)


def _in_folder(folder: Path) -> ImageList:
    home = folder / "test" if class_folders(folder / "test") else folder
    members = scan(folder.name, home)
    classes = in_order(members)
    files = {f"{kind}/{file}": label for label, kind in enumerate(classes) for file in members[kind]}
    return ImageList(
        name=folder.name,
        root=home,
        files=tuple(files),
        labels=np.array(list(files.values()), np.int64),
        classes=classes,
        test=np.arange(len(files)),
    )


def _section(kept: Kept, settings: Sequence[str]) -> Any:
    """The data set's section of a configuration: the run's, or another one's, with these settings."""
    card = kept.card
    if any(text.startswith("data=") for text in settings):
        return compose_config([f"rate={card['rate']}", f"split_seed={card['split_seed']}", *settings]).data
    section = OmegaConf.create(card["data"])
    for text in settings:
        name = text.partition("=")[0].removeprefix("data.")
        if name not in section:
            known = [str(one) for one in section if not str(one).startswith("_")]
            raise UserError(f"data.{name} is not a setting of data {card['data']['name']}: {suggest(name, known)}")
    changed = OmegaConf.from_dotlist([text.removeprefix("data.") for text in settings])
    return OmegaConf.merge(section, changed)
