"""Image files to pixels, once: every image made a square, kept in one memory-mapped file for all runs."""

import errno
import hashlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cotune_bench.data.dataset import Dataset, ImageList, Labelled
from cotune_bench.data.rgb import as_rgb, reason
from cotune_bench.data.scan import look
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache
from cotune_bench.storage.files import digest, write_atomically

log = logging.getLogger(__name__)

#: Raised by one whenever the same files would give other pixels than before.
VERSION = 1
#: Images between two notes of how far the file is; a killed build repeats at most so many.
NOTE_EVERY = 256
LOG_SECONDS = 10.0


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
        folder: of the cache; the file is built by the first who asks, while others wait, and goes on where a
            killed build stopped. None keeps nothing and reads the images anew at every access.
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
            sizes = [_size(images.root / file) for file in images.files]
            missing = [file for file, size in zip(images.files, sizes, strict=True) if size is None]
            if missing:
                raise UserError(
                    f"data {images.name}: {_some(missing)} missing in {images.root}: get the data set again"
                )
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
    """Files of people's own that are read otherwise than their format alone says; nothing where there are none."""
    if not images.upright:
        return {}
    looks = look(images.root, images.files, None if folder is None else Cache(folder))
    turned = {images.files[row]: int(looks.orientations[row]) for row in np.flatnonzero(looks.orientations != 1)}
    deep = [images.files[row] for row in np.flatnonzero(looks.deep)]
    return {name: told for name, told in (("orientations", turned), ("upper_bits", deep)) if told}


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


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _some(files: list[str]) -> str:
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"{len(files)} of the images ({', '.join(files[:3])}{more})"


def _stored(squashed: Squashed, key: str, folder: Path) -> np.ndarray:
    """The pixels as a read-only memory map of a finished file."""
    name = squashed.images.name
    path = folder / f"{name}-{squashed.resize}-{squashed.resize_filter}-{key[:16]}.uint8"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_suffix(".lock"), name):
            if not path.exists():
                _build(squashed, path)
    return np.asarray(np.memmap(path, np.uint8, "r", shape=squashed.shape))


def _alone(path: Path, name: str) -> AbstractContextManager:
    lock = FileLock(path)
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        log.info("data %s: waiting for another process that decodes it", name)
        return lock.acquire()


def _build(squashed: Squashed, path: Path) -> None:
    """Decode into a file beside ``path``, noting what is surely on the disk, and rename it at the end."""
    images, count, row_bytes = squashed.images, len(squashed), int(np.prod(squashed.shape[1:]))
    partly, note = path.with_suffix(".part"), path.with_suffix(".count")
    done = _noted(note, partly, row_bytes)
    needed = (count - done) * row_bytes
    if shutil.disk_usage(path.parent).free < needed:
        raise _disk_full(path, needed)
    start = f", going on after {done}" if done else ""
    log.info(
        "data %s: decoding %d images (%.2f GB) into %s%s", images.name, count, count * row_bytes / 1e9, path, start
    )
    broken = []
    try:
        with open(os.open(partly, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            handle = file.fileno()
            with closing(_written(squashed, handle, range(done, count))) as results:
                for row, error in enumerate(_followed(results, images.name, done, count), start=done):
                    broken += [error] if error else []
                    if (row + 1) % NOTE_EVERY == 0 and not broken:
                        os.fsync(handle)
                        write_atomically(note, str(row + 1).encode())
            os.fsync(handle)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(path, needed) from error
        raise
    if broken:
        partly.unlink()
        note.unlink(missing_ok=True)
        raise UserError(f"data {images.name}: {_some(broken)} cannot be read: get the data set again")
    os.replace(partly, path)
    note.unlink(missing_ok=True)


def _noted(note: Path, partly: Path, row_bytes: int) -> int:
    """Number of images that an earlier build surely wrote."""
    if not (note.exists() and partly.exists()):
        return 0
    return min(int(note.read_text()), partly.stat().st_size // row_bytes)


def _disk_full(path: Path, needed: int) -> UserError:
    free = shutil.disk_usage(path.parent).free
    return UserError(
        f"{path} needs {needed} more bytes and {free} are free: make room, or choose another folder with cache=FOLDER"
    )


def _written(squashed: Squashed, handle: int, rows: range) -> Generator[str | None, None, None]:
    """Write these images where they belong in the file; gives what is wrong with each, or None, in their order."""
    row_bytes = int(np.prod(squashed.shape[1:]))

    def write(row: int) -> str | None:
        try:
            pixels = squashed.read(row)
        except UserError as error:
            return str(error)
        if os.pwrite(handle, pixels.tobytes(), row * row_bytes) < row_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return None

    # Threads, not processes: PIL decodes and resizes outside of Python's lock, and a sweep's worker may start them.
    pool = ThreadPoolExecutor(squashed.workers)
    try:
        yield from pool.map(write, rows)
    finally:
        pool.shutdown(cancel_futures=True)  # nothing may write once the caller has closed the file


def _followed(results: Iterator[str | None], name: str, done: int, count: int) -> Iterator[str | None]:
    """The same results, with a progress bar on a terminal, else a line in the log now and then."""
    title = f"data {name}: decoding"
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield from progress.track(results, total=count, completed=done, description=title)
        return
    told = time.monotonic()
    for number, result in enumerate(results, start=done + 1):
        yield result
        if time.monotonic() - told > LOG_SECONDS:
            told = time.monotonic()
            log.info("%s: %d of %d", title, number, count)
