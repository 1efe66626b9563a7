"""DMLab: frames of DeepMind Lab, labelled by distance and reward of an object (Zhai et al., 2019)."""

import os
import shutil
from pathlib import Path

from cotune_bench.data.dataset import ImageList, Reader
from cotune_bench.data.readers.common import image_list, labelled, missing, require
from cotune_bench.data.tfrecord import example, records
from cotune_bench.errors import UserError

OFFICIAL = {"classes": 6, "train": 65_550, "val": 22_628, "test": 22_735}
PARTS = {"train": "train", "val": "validation", "test": "test"}
LISTS = tuple(f"{part}.txt" for part in PARTS.values())
HOMES = (".", "images", "dmlab/images")


def read(name: str, root: str) -> ImageList:
    """The images that :func:`arrange` wrote, by its lists ``train.txt``, ``validation.txt`` and ``test.txt``."""
    home = require(name, root, HOMES, *LISTS, expected=f"images/{LISTS[0]}")
    parts = {part: labelled(name, home / file) for part, file in zip(PARTS, LISTS, strict=True)}
    classes = [str(label) for label in range(OFFICIAL["classes"])]  # which label is which is not published
    return image_list(name, home, classes, **parts)


def arrange(root: Path) -> None:
    """Write the images in ``dmlab-*.tfrecord*`` below ``root`` as files into ``images``, with a list of each part.

    Raises:
        UserError: records are missing or damaged.
    """
    written = root / "images.part"
    shutil.rmtree(written, ignore_errors=True)
    for part in PARTS.values():
        files = sorted(path for folder in (root, root / "records") for path in folder.glob(f"dmlab-{part}.tfrecord*"))
        if not files:
            raise missing("dmlab", root / "records" / f"dmlab-{part}.tfrecord")
        (written / part).mkdir(parents=True)
        lines = []
        for record in (one for file in files for one in records(file)):
            try:
                features = example(record)
                (image,), (label,) = features["image"], features["label"]
            except (KeyError, IndexError, ValueError) as error:
                raise UserError(f"{files[0]} has a record without one image and one label: get it again") from error
            file = f"{part}/{len(lines):06d}.jpg"
            (written / file).write_bytes(image)  # pyright: ignore[reportArgumentType]
            lines.append(f"{file} {label}\n")
        (written / f"{part}.txt").write_text("".join(lines), encoding="utf-8")
    os.replace(written, root / "images")


READER = Reader(read, official=OFFICIAL, arrange=arrange)
