"""Image files to pixels, once: every image made a square, kept in one memory-mapped file for all runs."""

import hashlib
import logging
import os
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image
from rich.console import Console
from rich.progress import track

from cotune_bench.data.dataset import Dataset, ImageList, Labelled
from cotune_bench.data.readers.common import require_files
from cotune_bench.data.rgb import as_rgb, reason
from cotune_bench.data.scan import file_hashes, look
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache
from cotune_bench.storage.files import digest, write_atomically

log = logging.getLogger(__name__)

#: Raised by one whenever the same files would give other pixels than before.
VERSION = 2
CHUNK = 256  # images that wait in memory to be written, at most


def decode(
    images: ImageList | Dataset, *, resize: int, resize_filter: str, folder: Path | None, mode: str = "squash"
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

    Raises:
        UserError: a file is missing or cannot be read, or the disk is full.
    """
    squares = Squares(images, resize, resize_filter, mode)
    if isinstance(images, Dataset) and images.pixels.shape[1:3] == (resize, resize):
        return images if images.content else replace(images, content=squares.key(folder))
    key = squares.key(folder)
    pixels = squares if folder is None else _stored(squares, key, Path(folder).expanduser() / "decoded")
    labelled = {entry.name: getattr(images, entry.name) for entry in fields(Labelled)}
    return Dataset(**labelled, pixels=pixels, content=key)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Originals:
    """Images in their own sizes, read by threads whenever they are asked for."""

    images: ImageList | Dataset

    def __getitem__(self, index: np.ndarray) -> list[np.ndarray]:
        """Pixels (H, W, C), uint8, of each of these images; UserError if one cannot be read."""
        with ThreadPoolExecutor() as pool:  # PIL works outside of Python's lock
            return list(pool.map(self.read, np.asarray(index).tolist()))

    def read(self, row: int) -> np.ndarray:
        """Pixels (H, W, C), uint8, of one image; UserError if it cannot be read."""
        images = self.images
        if isinstance(images, Dataset):
            stored = images.pixels[row]
            changed = self.change(Image.fromarray(stored[..., 0] if stored.shape[2] == 1 else stored))
            return np.asarray(changed).reshape(changed.height, changed.width, -1)
        file = images.files[row]
        try:
            with Image.open(images.root / file) as opened:
                # In this order, as in the published loaders: palettes are not interpolated.
                image = as_rgb(opened, upright=images.upright)
                if images.crop_bottom:
                    image = image.crop((0, 0, image.width, image.height - images.crop_bottom))
                return np.asarray(self.change(image))
        except Exception as error:  # PIL raises nearly anything at damaged files
            raise UserError(f"{file}: {reason(error, images.root / file)}") from error

    def change(self, image: Image.Image) -> Image.Image:
        """What becomes of an image before it is an array."""
        return image


@dataclass(frozen=True)
class Squares(Originals):
    """Images made square whenever they are asked for; indexed like an (N, H, W, C) uint8 array."""

    resize: int
    resize_filter: str
    mode: str = "squash"

    def __len__(self) -> int:
        return len(self.images.labels)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        channels = self.images.pixels.shape[3] if isinstance(self.images, Dataset) else 3
        return len(self), self.resize, self.resize, channels

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Pixels (len(index), H, W, C)."""
        return np.stack(read) if (read := super().__getitem__(index)) else np.empty((0, *self.shape[1:]), np.uint8)

    def change(self, image: Image.Image) -> Image.Image:
        """The square of an image."""
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
            cache = None if folder is None else Cache(folder)
            hashes = file_hashes(images.root, images.files, cache)
            content = hashlib.sha256(np.ascontiguousarray(hashes).data).hexdigest()
            source = {"files": list(images.files), "content": content, "crop_bottom": images.crop_bottom}
            if images.upright:  # a user's own files, whose pixels depend on more than their format
                looks = look(images.root, images.files, cache)
                ways = zip(images.files, looks.orientations.tolist(), strict=True)
                turned = {file: way for file, way in ways if way != 1}
                deep = [file for file, is_deep in zip(images.files, looks.deep, strict=True) if is_deep]
                source |= {name: found for name, found in (("orientations", turned), ("upper_bits", deep)) if found}
        rule = {"version": VERSION, "resize": self.resize, "mode": self.mode, "filter": self.resize_filter}
        return digest({"name": images.name, **rule, **source})


def _stored(squares: Squares, key: str, folder: Path) -> np.ndarray:
    """The pixels as a read-only memory map of a finished file."""
    name = squares.images.name
    path = folder / f"{name}-{squares.resize}-{squares.resize_filter}-{key[:16]}.uint8"
    try:
        if not _whole(path):
            folder.mkdir(parents=True, exist_ok=True)
            log.info("data %s: decoding into %s, or waiting for the process that does", name, path)
            with FileLock(path.with_suffix(".lock")):
                if not _whole(path):
                    _build(squares, path)
    except OSError as error:
        raise UserError(f"{path} cannot be used ({error}): make room, or choose another cache=FOLDER") from error
    return np.asarray(np.memmap(path, np.uint8, "r", shape=squares.shape))


def _whole(path: Path) -> bool:
    """Whether a finished file is there with the content that was written; a warning names one that is damaged."""
    if not path.exists():
        return False
    try:
        expected = path.with_suffix(".crc32").read_text(encoding="ascii")
    except OSError:
        expected = ""
    if (found := f"{_checksum(path):08x}") != expected:
        log.warning("%s is damaged (checksum %s instead of %s) and is made again", path, found, expected or "any")
        return False
    return True


def _checksum(path: Path) -> int:
    """CRC-32 of a file, at a gigabyte or more in a second: enough to find what a disk or a person damaged."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            found = zlib.crc32(block, found)
    return found


def _build(squares: Squares, path: Path) -> None:
    """Decode into a file beside ``path`` and rename it at the end."""
    name, temporary = squares.images.name, path.with_suffix(".part")
    rows = np.array_split(np.arange(len(squares)), len(squares) // CHUNK + 1)
    shown = {"console": Console(stderr=True), "transient": True, "disable": not sys.stderr.isatty()}
    try:
        with temporary.open("wb") as file:
            for chunk in track(rows, f"data {name}: decoding", **shown):
                file.write(squares[chunk].tobytes())
            file.flush()
            os.fsync(file.fileno())
        checksum = f"{_checksum(temporary):08x}"
        path.unlink(missing_ok=True)
        write_atomically(path.with_suffix(".crc32"), checksum.encode())
        os.replace(temporary, path)
    except UserError as error:
        raise UserError(f"data {name}: an image cannot be read ({error}): get the data set again") from error
    finally:
        temporary.unlink(missing_ok=True)
