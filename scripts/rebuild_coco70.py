"""Make data=coco70-rebuilt from COCO 2017 (Lin et al., 2014): python scripts/rebuild_coco70.py COCO [--min-side N]

The authors' crops of COCO-70 may be gone and their rule is unknown; these are other images. See docs/data/coco70.md.
"""

import argparse
import json
import math
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cotune_bench.cli import guarded
from cotune_bench.config import compose_config
from cotune_bench.data.readers.coco70 import NAMES
from cotune_bench.data.readers.common import lines
from cotune_bench.errors import UserError

PER_CLASS = {"train": 800, "val": 100, "test": 100}
YEARS = ("train2017", "val2017")
RECIPE = "rebuilt.json"


def main(arguments: list[str]) -> int:
    """Crop, then print where the images are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("coco", help="folder of COCO 2017, with annotations/ and train2017/, val2017/ or both")
    parser.add_argument("overrides", nargs="*", help="settings of run.py, such as data_root=PATH or data.root=PATH")
    parser.add_argument("--min-side", type=int, default=32, help="pixels of a crop's shorter side")
    given = parser.parse_intermixed_args(arguments)
    target = Path(compose_config(["data=coco70-rebuilt", *given.overrides]).data.root)
    rebuild(Path(given.coco), target, min_side=given.min_side)
    print(f"{target}: check it with python scripts/prepare_data.py coco70-rebuilt")
    return 0


@dataclass(frozen=True)
class Crop:
    """One object: its annotation's number, source image, label in 0..69 and box (left, upper, right, lower)."""

    number: int
    image: str
    label: int
    box: tuple[int, int, int, int]


def rebuild(
    coco: Path, target: Path, *, min_side: int = 32, seed: int = 0, per_class: Mapping[str, int] = PER_CLASS
) -> None:
    """Crop a seeded choice of objects from COCO 2017 into ``target``, as train/, val/, test/ of class folders.

    ``coco`` holds annotations/instances_train2017.json with train2017/, and the same for val2017, or one of them.

    Raises:
        UserError: COCO is not there, source images are missing, or ``target`` holds something already.
    """
    if min_side < 1:
        raise UserError(f"--min-side {min_side} cannot be used: it is a number of pixels above 0")
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"{target} is there already: move it away first")
    classes = lines("coco70-rebuilt", NAMES)
    years = [year for year in YEARS if (coco / "annotations" / f"instances_{year}.json").is_file()]
    if not years:
        wanted = coco / "annotations" / f"instances_{YEARS[0]}.json"
        raise UserError(f"{wanted} is missing: give the folder of COCO 2017 (annotations/, train2017/)")
    crops = [
        crop
        for year in years
        for crop in candidates(_annotations(coco / "annotations" / f"instances_{year}.json"), year, classes, min_side)
    ]
    chosen = choose(crops, len(classes), per_class, seed)
    for label, kind in enumerate(classes):
        got = [sum(crop.label == label for crop in chosen[part]) for part in per_class]
        if got != list(per_class.values()):
            print(f"{kind}: {' + '.join(map(str, got))} crops instead of {' + '.join(map(str, per_class.values()))}")
    absent = sorted({c.image for members in chosen.values() for c in members if not (coco / c.image).is_file()})
    if absent:
        raise UserError(f"{len(absent)} images of COCO are missing in {coco} (first: {', '.join(absent[:3])})")
    recipe = {
        "name": "coco70-rebuilt",
        "source": [f"COCO 2017, instances_{year}.json" for year in years],
        "crops": "bounding boxes of single objects (iscrowd 0), rounded outwards, clipped to the image",
        "min_side": min_side,
        "seed": seed,
        "per_class": dict(per_class),
        "split": "by source image",
        "counts": {
            "classes": len(classes),
            **{part: len(members) for part, members in chosen.items()},
        },
    }
    _write(coco, target, chosen, classes, recipe)


def candidates(annotations: Mapping[str, Any], year: str, classes: Sequence[str], min_side: int) -> list[Crop]:
    """Objects of these classes that are no crowd and whose box, within its image, has ``min_side`` pixels."""
    label = {kind: number for number, kind in enumerate(classes)}
    images = {image["id"]: image for image in annotations["images"]}
    kinds = {kind["id"]: label.get(kind["name"].replace(" ", "_")) for kind in annotations["categories"]}
    found = []
    for item in annotations["annotations"]:
        kind, image = kinds.get(item["category_id"]), images[item["image_id"]]
        if kind is None or item.get("iscrowd", 0):
            continue
        x, y, width, height = item["bbox"]
        left, upper = max(0, math.floor(x)), max(0, math.floor(y))
        right, lower = min(image["width"], math.ceil(x + width)), min(image["height"], math.ceil(y + height))
        if min(right - left, lower - upper) >= min_side:
            found.append(Crop(item["id"], f"{year}/{image['file_name']}", kind, (left, upper, right, lower)))
    return found


def choose(crops: Sequence[Crop], num_classes: int, per_class: Mapping[str, int], seed: int) -> dict[str, list[Crop]]:
    """A seeded choice of crops for every part; all crops of a source image are in the same part.

    A class with too few crops gets them in the same proportions. Rare classes choose their images first, each image
    going to the part that lacks most of its share; images that no class needs are dealt out at random.
    """
    rng = np.random.default_rng(seed)
    parts, whole = list(per_class), sum(per_class.values())
    shares = np.array([per_class[part] for part in parts]) / whole
    per_image: list[dict[str, int]] = [defaultdict(int) for _ in range(num_classes)]
    for crop in crops:
        per_image[crop.label][crop.image] += 1
    totals = [sum(images.values()) for images in per_image]
    wants = np.array([_dealt(min(total, whole), shares) for total in totals]).reshape(num_classes, len(parts))
    place: dict[str, int] = {}
    for label in np.argsort(totals, kind="stable"):
        have = np.zeros(len(parts))
        for image, count in per_image[label].items():
            if image in place:
                have[place[image]] += count
        free = sorted(image for image in per_image[label] if image not in place)
        for image in rng.permutation(np.array(free, dtype=object)):
            lack = np.divide(wants[label] - have, wants[label], out=np.zeros(len(parts)), where=wants[label] > 0)
            if lack.max() <= 0:
                break
            part = int(lack.argmax())
            place[image] = part
            have[part] += per_image[label][image]
    rest = sorted({crop.image for crop in crops} - place.keys())
    place.update(zip(rest, rng.choice(len(parts), len(rest), p=shares).tolist(), strict=True))
    pools: dict[tuple[int, int], list[Crop]] = defaultdict(list)
    for crop in crops:
        pools[crop.label, place[crop.image]].append(crop)
    chosen: dict[str, list[Crop]] = {part: [] for part in parts}
    for label in range(num_classes):
        for number, part in enumerate(parts):
            pool = pools[label, number]
            picks = rng.permutation(len(pool))[: wants[label, number]]
            chosen[part] += [pool[pick] for pick in np.sort(picks)]
    return chosen


def _dealt(total: int, shares: np.ndarray) -> np.ndarray:
    """Whole numbers in these proportions; what rounding leaves goes to the first part."""
    numbers = np.floor(total * shares + 1e-9).astype(int)
    numbers[0] += total - numbers.sum()
    return numbers


def _annotations(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}): get it again") from error
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise UserError(f"{path} holds no images, annotations and categories: get instances_*.json of COCO 2017")
    return content


def _write(coco: Path, target: Path, chosen: Mapping[str, list[Crop]], classes: Sequence[str], recipe: dict) -> None:
    """All crops to a hidden folder beside ``target``, which becomes ``target`` when it is whole."""
    temporary = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    by_image: dict[str, list[tuple[str, Crop]]] = defaultdict(list)
    for part, members in chosen.items():
        for crop in members:
            by_image[crop.image].append((part, crop))
    try:
        for image, members in by_image.items():
            pixels = _decoded(coco / image)
            for part, crop in members:
                folder = temporary / part / classes[crop.label]
                folder.mkdir(parents=True, exist_ok=True)
                pixels.crop(crop.box).save(folder / f"{Path(image).stem}_{crop.number}.jpg", quality=95)
        (temporary / RECIPE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
        if target.is_dir():
            target.rmdir()
        temporary.rename(target)
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error}): make room, or choose another data_root") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _decoded(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # decoders raise many kinds on damaged files
        raise UserError(f"{path} cannot be decoded ({error}): get it again") from error


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
