"""The target data of one run: training batches and deterministic views, as network inputs on the device."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from cotune_bench.config.protocol import Protocol
from cotune_bench.data.augment import Augment, make_augment
from cotune_bench.data.dataset import Dataset, ImageList, Images, images_of
from cotune_bench.data.decode import Originals, decode
from cotune_bench.data.splits import split
from cotune_bench.data.task import Batch, Classification
from cotune_bench.data.views import crop_offsets, crop_views
from cotune_bench.errors import UserError
from cotune_bench.storage.files import digest

#: Of all views in a batch on a CPU, where more of them cost memory and gain no time.
CPU_PIXELS = 64 * 224**2


def staged(values: np.ndarray, device: torch.device) -> Tensor:
    """Values on the host, for a GPU in memory that it reads by itself: from any other, a copy waits for the GPU."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory() if device.type == "cuda" else tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Staged values on their way to the device; a GPU and the host do not wait for each other."""
    return values.to(device, non_blocking=device.type == "cuda")  # from other memory it is not safe everywhere


class Normalize:
    """uint8 images (..., H, W, C) of the host to normalised float images (..., C, H, W) on the device.

    Images that are staged or there already come as a tensor.

    Only bytes travel; a grey image becomes as many equal channels as the statistics have.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self.mean, self.std, self.device = mean, std, device
        # (x / 255 - mean) / std as one multiplication and one addition per pixel.
        self.scale = (1 / (255 * torch.tensor(std, dtype=torch.float64))).float().to(device)
        self.shift = (-torch.tensor(mean, dtype=torch.float64) / torch.tensor(std)).float().to(device)

    def __call__(self, images: np.ndarray | Tensor) -> Tensor:
        """Normalised images (..., C, H, W) on the device."""
        if isinstance(images, np.ndarray):
            images = staged(images, self.device)
        bytes_ = sent(images, self.device)
        bytes_ = bytes_.expand(*bytes_.shape[:-1], len(self.scale))
        # Whole rows at once: a loop over three channels at a time is several times slower on a CPU.
        scale, shift = (values.repeat(bytes_.shape[-2]) for values in (self.scale, self.shift))
        rows = bytes_.flatten(-2).float().mul_(scale).add_(shift)
        return rows.view(bytes_.shape).movedim(-1, -3)


@dataclass(frozen=True)
class Batches:
    """Training batches: ``batches(step)`` is a function of (seed, step).

    A pass over the images is one random order, cut into full batches; its remainder is dropped, as in the
    published recipes. With fewer images than ``batch_size`` every batch holds all of them. Of several ``views`` each
    is augmented on its own; ``mixup`` above 0 mixes pairs of images. Where they are not ``augmented``, the inputs are
    the plain views of the same images.
    """

    images: Images
    batch_size: int
    seed: int
    augment: Augment
    normalize: Normalize
    task: Classification
    views: int = 1
    augmented: bool = True
    mixup: float = 0.0

    def positions(self, step: int) -> np.ndarray:
        """Which images, as positions in ``images``, make the batch of this step."""
        count = len(self.images)
        size = min(self.batch_size, count)
        epoch, number = divmod(step, count // size)
        order = np.random.default_rng([self.seed, 0, epoch]).permutation(count)
        return order[number * size : (number + 1) * size]

    def __call__(self, step: int) -> Batch:
        """The batch of this step, on the device."""
        return self._mixed(self._on_device(*self._on_host(step)), step)

    def stream(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of these steps in order; a GPU works on one while the host makes the next."""
        if self.normalize.device.type == "cpu":  # where the cores have the network to compute
            yield from map(self, range(first, last))
            return
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._on_host, first)
            for step in range(first, last):
                made = ahead.result()
                if step + 1 < last:
                    ahead = pool.submit(self._on_host, step + 1)
                yield self._mixed(self._on_device(*made), step)

    def _on_host(self, step: int) -> list[Tensor]:
        """Labels, positions and the pixels of each view."""
        positions, device = self.positions(step), self.normalize.device
        images = self.images.take(positions)
        seeds = [[self.seed, 1, step, view] if view else [self.seed, 1, step] for view in range(self.views)]
        pixels = [self.augment(images, np.random.default_rng(seed)) for seed in seeds]
        return [staged(values, device) for values in (self.images.labels[positions], positions, *pixels)]

    def _on_device(self, labels: Tensor, index: Tensor, *pixels: Tensor) -> Batch:
        device = self.normalize.device
        return self.task.collate(list(map(self.normalize, pixels)), sent(labels, device), sent(index, device))

    def _mixed(self, batch: Batch, step: int) -> Batch:
        """Of mixup: each image and another of the batch, in shares that one draw of Beta(mixup, mixup) gives."""
        if not self.mixup:
            return batch
        rng = np.random.default_rng([self.seed, 3, step])
        share = rng.beta(self.mixup, self.mixup)
        order = sent(staged(rng.permutation(len(batch.labels)), self.normalize.device), self.normalize.device)
        labels = one_hot(batch.labels, self.task.num_classes).float()
        values = [share * rows + (1 - share) * rows[order] for rows in (batch.inputs, labels, *batch.views)]
        return replace(batch, inputs=values[0], shares=values[1], views=tuple(values[2:]))


@dataclass(frozen=True)
class Views:
    """The same crops of every image, in order: iterating gives images (n, V, C, h, w)."""

    images: Images
    crop: int
    offsets: np.ndarray
    normalize: Normalize
    batch_size: int = 256

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64."""
        return self.images.labels

    def __iter__(self) -> Iterator[Tensor]:
        return map(self.take, self.batches())

    def batches(self) -> list[np.ndarray]:
        """Positions of the images that are seen together."""
        views = self.batch_size
        if self.normalize.device.type == "cpu":
            views = min(views, CPU_PIXELS // self.crop**2)
        size = max(views // len(self.offsets), 1)
        return [np.arange(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def take(self, positions: np.ndarray) -> Tensor:
        """Images (len(positions), V, C, h, w) at these positions."""
        # Normalised and cropped on the device: what travels is every image once, not once for every view.
        whole = self.normalize(self.images.take(positions)).movedim(-3, -1)
        return crop_views(whole, self.crop, self.offsets).movedim(-1, -3)


@dataclass(frozen=True)
class TargetData:
    """What a method trains and is tested on.

    Attributes:
        train: augmented training batches.
        plain: the same images, one centre crop each, in order; ``val`` likewise (may be empty).
        test: the test images in the protocol's views.
        known: one centre crop of all images for training and validation, whatever the rate.
        classes: the K class names.
        task: what is asked of an image.
        content: hash of the files and settings that define the pixels, see :class:`Dataset`.
    """

    name: str
    classes: tuple[str, ...]
    train: Batches
    plain: Views
    val: Views
    test: Views
    known: Views
    task: Classification
    content: str

    def to(self, device: torch.device) -> "TargetData":
        """The same data, whose batches and views come on another device."""
        normalize = Normalize(self.train.normalize.mean, self.train.normalize.std, device)
        parts = {name: getattr(self, name) for name in ("train", "plain", "val", "test", "known")}
        return replace(self, **{name: replace(part, normalize=normalize) for name, part in parts.items()})

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of images, labels and split: what trains, validates and tests."""
        return self._fingerprint("plain", "val", "test")

    @cached_property
    def test_fingerprint(self) -> str:
        """Hex SHA-256 of the test images and their labels, equal whatever the split, the sample and the rate are."""
        return self._fingerprint("test")

    def _fingerprint(self, *parts: str) -> str:
        images = {part: getattr(self, part).images.fingerprint() for part in parts}
        return digest({"data": self.name, "classes": list(self.classes), "content": self.content, **images})


def target_data(
    images: ImageList | Dataset,
    protocol: Protocol,
    *,
    rate: float,
    seed: int,
    split_seed: int,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    folder: Path | None = None,
) -> TargetData:
    """The data of one run: official split, fixed validation split, sample at ``rate``, batches from ``seed``.

    Images that do not have the protocol's size are brought to it by :func:`decode`, once for all runs in
    ``folder``, or at every access if that is None. Training crops of originals are read at every access.
    """
    dataset = decode(
        images,
        resize=protocol.resize,
        mode=protocol.resize_mode,
        resize_filter=protocol.resize_filter,
        folder=folder,
    )
    channels = dataset.pixels.shape[3]
    if channels not in (1, len(mean)):
        raise UserError(
            f"data {dataset.name} has {channels} colour channels and the backbone takes {len(mean)}: "
            "choose another backbone"
        )
    train, val = dataset.train, dataset.val
    known = train if val is None else np.concatenate([train, val])
    kept, held = split(
        dataset.labels[train],
        len(dataset.classes),
        1.0 if dataset.sampled else rate,
        val=protocol.val if val is None else 0.0,
        order=protocol.split_order,
        seed=split_seed,
    )
    train, val = train[kept], train[held] if val is None else val
    normalize = Normalize(mean, std, device)
    augment = make_augment(
        protocol.augment, crop=protocol.crop, shift=protocol.shift, flip=protocol.flip, scale=protocol.scale
    )
    center = crop_offsets(protocol.resize, protocol.crop, "center")
    views = crop_offsets(protocol.resize, protocol.crop, protocol.views)
    plain = trained = images_of(dataset, train)
    task = Classification(len(dataset.classes), protocol.label_smoothing)
    if protocol.resize_mode == "short_side" and protocol.augment == "resized_crop":
        trained = replace(plain, pixels=Originals(images))
    return TargetData(
        name=dataset.name,
        classes=dataset.classes,
        train=Batches(
            trained,
            protocol.batch_size,
            seed,
            augment,
            normalize,
            task,
            augmented=protocol.augment != "none" or protocol.flip or protocol.mixup > 0,
            mixup=protocol.mixup,
        ),
        plain=Views(plain, protocol.crop, center, normalize),
        val=Views(images_of(dataset, val), protocol.crop, center, normalize),
        test=Views(images_of(dataset, dataset.test), protocol.crop, views, normalize),
        known=Views(images_of(dataset, known), protocol.crop, center, normalize),
        task=task,
        content=dataset.content,
    )
