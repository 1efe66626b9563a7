"""Image files to pixels, once: every image made a square, kept in one memory-mapped file for all runs."""

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image
from rich.console import Console
from rich.progress import track

from cotune_bench.data.dataset import Dataset, ImageList, Labelled
from cotune_bench.data.readers.common import require_files
from cotune_bench.data.rgb import as_rgb, reason
from cotune_bench.data.scan import look
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache
from cotune_bench.storage.files import digest

log = logging.getLogger(__name__)

#: Raised by one whenever the same files would give other pixels than before.
VERSION = 1
CHUNK = 256  # images that wait in memory to be written, at most


def decode(
    images: ImageList | Dataset,
    *,
    resize: int,
    resize_filter: str,
    folder: Path | None,
    mode: str = "squash",
    workers: int | None = None,
) -> Dataset:
    """The data set as pixels (N, resize, resize, C), uint8, equal to ``as_rgb(image).resize(...)``.

    Files become RGB, arrays keep their channels (1 or 3) and are given back as they are if they fit already.

    Args:
        resize: side of the square in pixels.
        resize_filter: ``nearest``, ``bilinear`` or ``bicubic``, PIL's.
        folder: of the cache; the first process builds the file, while others wait. None keeps nothing and reads
            the images again at every access.
        mode: ``squash`` gives up the aspect ratio; ``short_side`` keeps the central square of the image whose shorter
            side is ``resize``, torchvision's ``Resize`` and ``CenterCrop``.
        workers: threads that decode, None for all cores.

    Raises:
        UserError: a file is missing or cannot be read, or the disk is full.
    """
    squashed = Squashed(images, resize, resize_filter, workers or os.cpu_count() or 1, mode)
    if isinstance(images, Dataset) and images.pixels.shape[1:3] == (resize, resize):
        return images if images.content else replace(images, content=squashed.key(folder))
    key = squashed.key(folder)
    pixels = squashed if folder is None else _stored(squashed, key, Path(folder).expanduser() / "decoded")
    labelled = {entry.name: getattr(images, entry.name) for entry in fields(Labelled)}
    return Dataset(**labelled, pixels=pixels, content=key)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Squashed:
    """Images that are read and made square whenever they are asked for; indexed like an (N, H, W, C) uint8 array."""

    images: ImageList | Dataset
    resize: int
    resize_filter: str
    workers: int
    mode: str = "squash"

    def __len__(self) -> int:
        return len(self.images.labels)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return len(self), self.resize, self.resize, _channels(self.images)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Pixels (len(index), H, W, C)."""
        with ThreadPoolExecutor(self.workers) as pool:
            read = list(pool.map(self.read, np.asarray(index).tolist()))
        return np.stack(read) if read else np.empty((0, *self.shape[1:]), np.uint8)

    def read(self, row: int) -> np.ndarray:
        """Pixels (H, W, C) of one image; UserError if it cannot be read."""
        return _read(self.images, row, self._square).reshape(self.shape[1:])

    def _square(self, image: Image.Image) -> Image.Image:
        resample = Image.Resampling[self.resize_filter.upper()]
        if self.mode == "squash":
            return image.resize((self.resize, self.resize), resample)
        width, height = (int(self.resize * side / min(image.size)) for side in image.size)
        left, top = round((width - self.resize) / 2), round((height - self.resize) / 2)
        return image.resize((width, height), resample).crop((left, top, left + self.resize, top + self.resize))

    def key(self, folder: Path | None) -> str:
        """Hex SHA-256 of all that defines the pixels, ``folder`` as in ``decode``; UserError if files are missing."""
        images = self.images
        if isinstance(images, Dataset):
            content = hashlib.sha256(np.ascontiguousarray(images.pixels).data).hexdigest()
            source = {"shape": list(images.pixels.shape), "pixels": content}
        else:
            require_files(images)
            sizes = [(images.root / file).stat().st_size for file in images.files]
            source = {"files": list(images.files), "sizes": sizes, "crop_bottom": images.crop_bottom}
            source |= _peculiar(images, folder)
        rule = {"version": VERSION, "resize": self.resize, "mode": self.mode, "filter": self.resize_filter}
        return digest({"name": images.name, **rule, **source})


@dataclass(frozen=True)
class Originals:
    """Images in their own sizes, read by threads whenever they are asked for."""

    images: ImageList | Dataset
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)

    def __getitem__(self, index: np.ndarray) -> list[np.ndarray]:
        """Pixels (H, W, C), uint8, of each of these images; UserError if one cannot be read."""
        with ThreadPoolExecutor(self.workers) as pool:
            read = pool.map(lambda row: _read(self.images, row), np.asarray(index).tolist())
            return [pixels.reshape(*pixels.shape[:2], _channels(self.images)) for pixels in read]


def _peculiar(images: ImageList, folder: Path | None) -> dict[str, object]:
    """A user's own files whose pixels depend on more than their format; empty without any."""
    if not images.upright:
        return {}
    looks = look(images.root, images.files, None if folder is None else Cache(folder))
    turned = {images.files[row]: int(looks.orientations[row]) for row in np.flatnonzero(looks.orientations != 1)}
    deep = [images.files[row] for row in np.flatnonzero(looks.deep)]
    return {name: found for name, found in (("orientations", turned), ("upper_bits", deep)) if found}


def _channels(images: ImageList | Dataset) -> int:
    return images.pixels.shape[3] if isinstance(images, Dataset) else 3


def _read(
    images: ImageList | Dataset, row: int, change: Callable[[Image.Image], Image.Image] = lambda image: image
) -> np.ndarray:
    """Pixels of one image after ``change``; UserError if it cannot be read."""
    if isinstance(images, Dataset):
        pixels = images.pixels[row]
        return np.asarray(change(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)))
    file = images.files[row]
    try:
        with Image.open(images.root / file) as image:
            # In this order, as in the published loaders: palettes are not interpolated.
            return np.asarray(change(_without_bottom(as_rgb(image, upright=images.upright), images.crop_bottom)))
    except Exception as error:  # PIL raises nearly anything at damaged files
        raise UserError(f"{file}: {reason(error, images.root / file)}") from error


def _without_bottom(image: Image.Image, rows: int) -> Image.Image:
    return image.crop((0, 0, image.width, image.height - rows)) if rows else image


def _stored(squashed: Squashed, key: str, folder: Path) -> np.ndarray:
    """The pixels as a read-only memory map of a finished file."""
    name = squashed.images.name
    path = folder / f"{name}-{squashed.resize}-{squashed.resize_filter}-{key[:16]}.uint8"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        log.info("data %s: decoding into %s, or waiting for the process that does", name, path)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _build(squashed, path)
    return np.asarray(np.memmap(path, np.uint8, "r", shape=squashed.shape))


def _build(squashed: Squashed, path: Path) -> None:
    """Decode into a file beside ``path`` and rename it at the end."""
    name, temporary, broken = squashed.images.name, path.with_suffix(".part"), []
    rows = np.array_split(np.arange(len(squashed)), len(squashed) // CHUNK + 1)
    shown = {"console": Console(stderr=True), "transient": True, "disable": not sys.stderr.isatty()}
    try:
        # Threads: PIL works outside of Python's lock, and a sweep's worker may start them, unlike processes.
        with temporary.open("wb") as file, ThreadPoolExecutor(squashed.workers) as pool:
            for chunk in track(rows, f"data {name}: decoding", **shown):
                for future in [pool.submit(squashed.read, row) for row in chunk.tolist()]:
                    if error := future.exception():
                        broken.append(str(error))
                    else:
                        file.write(future.result().tobytes())
            file.flush()
            os.fsync(file.fileno())
        if broken:
            some = ", ".join(broken[:3]) + (f" and {len(broken) - 3} more" if len(broken) > 3 else "")
            raise UserError(
                f"data {name}: {len(broken)} of the images ({some}) cannot be read: get the data set again"
            )
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}): make room, or choose another cache=FOLDER") from error
    finally:
        temporary.unlink(missing_ok=True)
