"""Images a second on the way to the network: the decoded cache against the plain way, in one process.

Both sides make the same thing, normalised float batches, from the same generated JPEG files of the size of CUB's.
They take turns, so that other work on the machine meets both alike; every ratio is within one round.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision import transforms

from cotune_bench.data.augment import make_augment
from cotune_bench.data.dataset import ImageList, images_of
from cotune_bench.data.decode import decode
from cotune_bench.data.target import Batches, Normalize, Views
from cotune_bench.data.views import crop_offsets

RESIZE, CROP, BATCH = 256, 224, 48
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=192, help="generated JPEG files")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; the plain way uses one anyhow")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), arguments.images, arguments.rounds)
    figures["machine"] = machine(arguments.threads)
    print(told(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(root: Path, count: int, rounds: int) -> dict:
    """Images a second of both sides, in training and in the ten-crop test, round by round."""
    images = write_images(root, count)
    started = time.perf_counter()
    data = images_of(decode(images, resize=RESIZE, resize_filter="bicubic", folder=root), images.train)
    building = count / (time.perf_counter() - started)
    normalize = Normalize(MEAN, STD, torch.device("cpu"))
    augment = make_augment("resized_crop", crop=CROP, shift=0, flip=True)
    batches = Batches(data, BATCH, 0, augment, normalize)
    rng = np.random.default_rng(0)
    plain_batches = Plain(images, [training_transform()])
    offsets = crop_offsets(RESIZE, CROP, "official10")
    views = Views(data, CROP, offsets, normalize)
    plain_views = Plain(images, [view_transform(*row) for row in offsets])
    few = np.arange(4)
    check_same_views(views.take(few), torch.stack(plain_views(few), dim=1))
    training = compare(
        {
            "plain": lambda step: plain_batches(batches.positions(step)),
            "cache": batches,
            "cache, uint8": lambda step: augment(data.take(batches.positions(step)), rng),
        },
        {"plain": 1, "cache": 16, "cache, uint8": 16},
        rounds,
        BATCH,
    )
    testing = compare(
        {"plain": lambda step: plain_views(few + 4 * step), "cache": lambda step: views.take(few + 4 * step)},
        {"plain": 2, "cache": 24},
        rounds,
        len(few),
    )
    size = sum((root / file).stat().st_size for file in images.files) / count
    return {"images": count, "file_bytes": size, "build": building, "training": training, "ten-crop test": testing}


def write_images(root: Path, count: int) -> ImageList:
    """Files of 500 x 375 pixels, soft blobs and noise, of about as many bytes as CUB's."""
    rng, files = np.random.default_rng(0), []
    for number in range(count):
        pixels = rng.normal(128, 15, (375, 500, 3))
        for cells in (4, 16, 64):
            blobs = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            soft = np.asarray(blobs.resize((500, 375), Image.Resampling.BICUBIC), float)
            pixels += (soft - 128) / cells**0.5
        file = f"{number:05d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / file, quality=90)
        files.append(file)
    none = np.arange(0)
    labels = np.zeros(count, dtype=np.int64)
    return ImageList(
        name="cub-like",
        labels=labels,
        classes=("bird",),
        train=np.arange(count),
        test=none,
        root=root,
        files=tuple(files),
    )


class Plain:
    """The plain way: for every transform and image, open the file, decode, transform, and collate a batch."""

    def __init__(self, images: ImageList, chains: list[Callable]) -> None:
        self.images = images
        self.chains = chains

    def __call__(self, positions: np.ndarray) -> list[torch.Tensor]:
        """One float batch (n, 3, h, w) for each transform."""
        paths = [self.images.root / self.images.files[row] for row in positions]
        return [torch.stack([chain(load(path)) for path in paths]) for chain in self.chains]


def load(path: Path) -> Image.Image:
    with path.open("rb") as file:
        return Image.open(file).convert("RGB").resize((RESIZE, RESIZE), Image.Resampling.BICUBIC)


def training_transform() -> Callable:
    """Random box of 8-100 % of the area, resized; mirrored by chance; to a normalised tensor."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(CROP),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def view_transform(left: int, top: int, flip: int) -> Callable:
    """One crop of the ten."""

    def crop(image: Image.Image) -> Image.Image:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image
        return image.crop((left, top, left + CROP, top + CROP))

    return transforms.Compose([crop, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def check_same_views(ours: torch.Tensor, plain: torch.Tensor) -> None:
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-6)


def compare(sides: dict[str, Callable], calls: dict[str, int], rounds: int, images: int) -> dict:
    """Images a second of every side in every round; the sides take turns, each first in some round."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(-1, rounds):  # the first is not counted: it reads the files and wakes the libraries
        for name in names if turn % 2 else names[::-1]:
            started = time.perf_counter()
            for step in range(calls[name]):
                sides[name](step)
            if turn >= 0:
                found[name].append(calls[name] * images / (time.perf_counter() - started))
    return found


def machine(threads: int) -> dict:
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    versions = {module.__name__: module.__version__ for module in (torch, torchvision, np, PIL)}
    return {
        "cpu": cpu.partition(":")[2].strip() or platform.processor(),
        "threads": threads,
        "python": platform.python_version(),
        **versions,
    }


def told(figures: dict) -> str:
    """The figures as lines of text: median and spread over the rounds."""
    lines = [
        ", ".join(f"{name} {value}" for name, value in figures["machine"].items()),
        f"{figures['images']} files of {figures['file_bytes'] / 1000:.0f} kB, cached at {figures['build']:.0f} img/s",
    ]
    for part in ("training", "ten-crop test"):
        plain = figures[part]["plain"]
        for name, rates in figures[part].items():
            ratios = [rate / base for rate, base in zip(rates, plain, strict=True)]
            lines.append(
                f"{part:14} {name:13} {statistics.median(rates):7.0f} img/s ({min(rates):.0f}-{max(rates):.0f})   "
                f"{statistics.median(ratios):6.1f} x ({min(ratios):.1f}-{max(ratios):.1f})"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
