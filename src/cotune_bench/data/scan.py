"""Scan of image files: content, which can be read, how, and small grey pictures that find near-identical ones."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cotune_bench.data.rgb import as_rgb, is_deep, orientation, reason
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Arrays, Cache

VERSION = 3
#: Side of the grey pictures; a difference hash has a bit for each of 8 x 8 pairs of neighbours.
SIDE, BITS = 16, 8
#: Two images are near-identical if so few bits and, on average, so few of 255 grey levels set them apart.
MOST_BITS, MOST_LEVELS = 4, 4.0


@dataclass(frozen=True)
class Looks:
    """What was seen of N files.

    Attributes:
        reasons: (N,) why a file cannot be read, empty where it can.
        hashes: (N,) uint64 difference hash: of a grey 9 x 8 picture, whether each pixel is darker than the next.
        pictures: (N, 16, 16) uint8 grey pictures; hash and picture are 0 where a file cannot be read.
        orientations: (N,) uint8, how EXIF asks to turn or mirror a file: 1 as it is, 2 to 8.
        deep: (N,) whether a file is grey of 16 bits.
    """

    reasons: np.ndarray
    hashes: np.ndarray
    pictures: np.ndarray
    orientations: np.ndarray
    deep: np.ndarray


def look(root: Path, files: Sequence[str], cache: Cache | None) -> Looks:
    """Decode every file below ``root``; kept in the cache, if there is one, until a file's size or time changes."""
    return Looks(**_remembered("looks", root, files, cache, _looked))


def file_hashes(root: Path, files: Sequence[str], cache: Cache | None) -> np.ndarray:
    """(N, 32) uint8 SHA-256 of the content of every file below ``root``; kept in the cache as in :func:`look`."""
    return _remembered("file-hashes", root, files, cache, _hashed)["hashes"]


def _remembered(
    kind: str, root: Path, files: Sequence[str], cache: Cache | None, compute: Callable[[Path, Sequence[str]], Arrays]
) -> Arrays:
    """What is computed from the files, kept until the size, the time or the inode of one of them changes."""
    if cache is None:
        return compute(root, files)
    states = [_state(root / file) for file in files]
    inputs = {"version": VERSION, "root": str(root.resolve()), "files": list(files), "states": states}
    return cache.get(kind, inputs, lambda: compute(root, files))


def _state(path: Path) -> list[int]:
    try:
        stat = os.stat(path)
    except OSError:  # a link that leads nowhere
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _hashed(root: Path, files: Sequence[str]) -> Arrays:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = b"".join(pool.map(lambda file: _sha256(root / file), files))
    return {"hashes": np.frombuffer(digests, np.uint8).reshape(-1, 32)}


def _sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): get the data set again") from error


def _looked(root: Path, files: Sequence[str]) -> Arrays:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(pool.map(lambda file: _one(root / file), files))
    reasons, hashes, pictures, orientations, deep = zip(*seen, strict=True) if seen else [()] * 5
    return {
        "reasons": np.array(reasons, np.str_),
        "hashes": np.array(hashes, np.uint64),
        "pictures": np.array(pictures, np.uint8).reshape(-1, SIDE, SIDE),
        "orientations": np.array(orientations, np.uint8),
        "deep": np.array(deep, np.bool_),
    }


def _one(path: Path) -> tuple[str, int, np.ndarray, int, bool]:
    try:
        if not path.is_file():  # opening a FIFO would wait for its writer
            raise FileNotFoundError("is not a file, or a link to none")
        with Image.open(path) as image:
            image.draft("L", (4 * SIDE, 4 * SIDE))  # a JPEG is read whole but not computed in full size
            grey = as_rgb(image, upright=True).convert("L")  # as runs see it: palettes and transparency first
            way, deep = orientation(image), is_deep(image)
    except Exception as error:  # PIL raises nearly anything at damaged files
        return reason(error, path), 0, np.zeros((SIDE, SIDE), np.uint8), 1, False
    row = np.asarray(grey.resize((BITS + 1, BITS), Image.Resampling.BOX))
    bits = np.packbits(row[:, :-1] < row[:, 1:])  # the first is the highest
    picture = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
    return "", int.from_bytes(bits.tobytes(), "big"), picture, way, deep


def near_identical(looks: Looks, first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of files, one of ``first`` and one of ``second`` (indices), that look the same, in order.

    At most 4 of 64 bits of the difference hash and, on average over a 16 x 16 picture, at most 4 of 255 grey levels
    apart. Pictures without contrast, whose hash is 0, are not compared: all of them look the same.
    """
    usable = (looks.reasons == "") & (looks.hashes != 0)
    first, second = first[usable[first]], second[usable[second]]
    hashes, pairs = looks.hashes[second], []
    for a in first:
        close = second[np.bitwise_count(hashes ^ looks.hashes[a]) <= MOST_BITS]
        apart = np.abs(looks.pictures[close].astype(int) - looks.pictures[a]).mean(axis=(1, 2))
        pairs += [(int(a), int(b)) for b in close[apart <= MOST_LEVELS]]
    return pairs
