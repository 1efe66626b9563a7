"""Images a second on the way to the network: the decoded cache against the plain way, in one process.

Both sides make the same thing, normalised float batches, from the same generated JPEG files of the size of CUB's.
They take turns, so that other work on the machine meets both alike; every ratio is within one round.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import alternate, environment, exponent, parser, report, row, row_line, timed
from PIL import Image
from torchvision import transforms

from cotune_bench.data.augment import make_augment
from cotune_bench.data.dataset import Dataset, ImageList, images_of
from cotune_bench.data.decode import decode
from cotune_bench.data.target import Batches, Normalize, Views
from cotune_bench.data.task import Classification
from cotune_bench.data.views import crop_offsets

RESIZE, CROP, BATCH = 256, 224, 48
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    arguments = parser(__doc__, rounds=7)
    arguments.add_argument("--images", type=int, default=192, help="generated JPEG files")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    packages = ("torch", "torchvision", "numpy", "pillow")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.images, options.rounds)
    figures["environment"] = environment(options.threads, packages)
    report(figures, told(figures), options.json)


def measure(root: Path, count: int, rounds: int) -> dict:
    """Seconds an image of both sides, in training and in the ten-crop test, round by round."""
    images = write_images(root, count)
    sizes = [count // 4, count // 2, count]
    building = [timed(lambda n=size: decoded(first(images, n), root / str(n))) for size in sizes]
    data = images_of(decoded(images, root / str(count)), images.train)
    normalize = Normalize(MEAN, STD, torch.device("cpu"))
    augment = make_augment("resized_crop", crop=CROP, shift=0, flip=True)
    batches = Batches(data, BATCH, 0, augment, normalize, Classification(2))
    rng = np.random.default_rng(0)
    plain_batches = Plain(images, [training_transform()])
    offsets = crop_offsets(RESIZE, CROP, "official10")
    views = Views(data, CROP, offsets, normalize)
    plain_views = Plain(images, [view_transform(*place) for place in offsets])
    few = np.arange(4)
    check_same_views(views.take(few), torch.stack(plain_views(few), dim=1))
    training = per_image(
        {
            "plain": (1, lambda step: plain_batches(batches.positions(step))),
            "ours": (16, batches),
            "ours, uint8": (16, lambda step: augment(data.take(batches.positions(step)), rng)),
        },
        rounds,
        BATCH,
    )
    testing = per_image(
        {
            "plain": (2, lambda step: plain_views(few + 4 * step)),
            "ours": (24, lambda step: views.take(few + 4 * step)),
        },
        rounds,
        len(few),
    )
    rows = [
        row("data path: an image for training, float", training),
        row("data path: an image for training, bytes", training, ours="ours, uint8"),
        row("data path: an image for the ten-crop test", testing),
    ]
    growth = {"images": sizes, "seconds": building, "exponent": exponent(sizes, building)}
    size = sum((root / file).stat().st_size for file in images.files) / count
    return {"file_bytes": size, "growth of decoding": growth, "rows": rows}


def first(images: ImageList, count: int) -> ImageList:
    """The data set's first images."""
    return replace(images, files=images.files[:count], labels=images.labels[:count], train=np.arange(count))


def decoded(images: ImageList, folder: Path) -> Dataset:
    """Through a cache in this folder."""
    return decode(images, resize=RESIZE, resize_filter="bicubic", folder=folder)


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


def per_image(sides: dict[str, tuple[int, Callable]], rounds: int, images: int) -> dict[str, list[float]]:
    """Seconds an image of every side, (number of calls in a round, call with a step), ``images`` a call."""

    def round_of(calls: int, call: Callable) -> None:
        for step in range(calls):
            call(step)

    turns = {name: partial(round_of, *side) for name, side in sides.items()}
    alternate(turns, 1)  # reads the files and wakes the libraries
    seconds = alternate(turns, rounds)
    return {name: [spent / (sides[name][0] * images) for spent in times] for name, times in seconds.items()}


def told(figures: dict) -> list[str]:
    """The figures as lines of text."""
    growth = figures["growth of decoding"]
    decoding = ", ".join(f"{n}: {spent:.2f} s" for n, spent in zip(growth["images"], growth["seconds"], strict=True))
    return [
        f"files of {figures['file_bytes'] / 1000:.0f} kB, decoded once into the cache: {decoding}; "
        f"exponent {growth['exponent']:.2f}",
        *map(row_line, figures["rows"]),
    ]


if __name__ == "__main__":
    main()
