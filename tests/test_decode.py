"""The decoded cache against PIL itself, and what it does when things go wrong."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotune_bench.data import decode as module
from cotune_bench.data.dataset import Dataset, ImageList
from cotune_bench.data.decode import decode
from cotune_bench.errors import UserError

SIDE = 16


def write_images(root: Path, count: int = 6, shape: tuple[int, int] = (40, 53)) -> ImageList:
    """Files of noise: an RGB, a grey and a palette one among them, names in sub-folders."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        image = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        mode, suffix = [("RGB", "jpg"), ("L", "jpg"), ("P", "png")][number % 3]
        file = f"class{number % 2}/{number:03d}.{suffix}"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        image.convert(mode).save(root / file)
        files.append(file)
    return image_list(root, files)


def image_list(root: Path, files: list[str], **options) -> ImageList:
    labels = np.arange(len(files)) % 2
    split = {"train": np.arange(0, len(files), 2), "test": np.arange(1, len(files), 2)}
    return ImageList(name="toy", labels=labels, classes=("a", "b"), root=root, files=tuple(files), **split, **options)


def built(images: ImageList, folder: Path | None, **options) -> Dataset:
    return decode(images, **{"resize": SIDE, "resize_filter": "bicubic", "folder": folder, **options})


@pytest.mark.parametrize("resize_filter", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("crop_bottom", [0, 7])
def test_pixels_are_those_of_pil(tmp_path, resize_filter, cached, crop_bottom):
    images = image_list(tmp_path, list(write_images(tmp_path).files), crop_bottom=crop_bottom)
    data = built(images, tmp_path / "cache" if cached else None, resize_filter=resize_filter)
    assert data.pixels.shape == (6, SIDE, SIDE, 3)
    assert len(data.pixels) == 6
    order = np.array([4, 0, 5, 1, 2, 3])
    taken, resampling = data.pixels[order], getattr(Image.Resampling, resize_filter.upper())
    assert taken.dtype == np.uint8
    for row, pixels in zip(order, taken, strict=True):
        with Image.open(tmp_path / images.files[row]) as image:
            whole = image.convert("RGB").crop((0, 0, image.width, image.height - crop_bottom))
        np.testing.assert_array_equal(pixels, np.asarray(whole.resize((SIDE, SIDE), resampling)))


def test_the_file_is_built_once(tmp_path, monkeypatch):
    images, folder = write_images(tmp_path), tmp_path / "cache"
    pixels = built(images, folder).pixels
    monkeypatch.setattr(module.Squares, "read", None)  # would raise TypeError
    again = built(images, folder)
    np.testing.assert_array_equal(pixels, again.pixels)
    assert not again.pixels.flags.writeable
    assert isinstance(again.pixels.base, np.memmap)
    assert {path.suffix for path in (folder / "decoded").iterdir()} <= {".uint8", ".lock", ".crc32"}
    assert (again.name, again.classes, again.val, again.sampled) == ("toy", ("a", "b"), None, False)
    for name in ("labels", "train", "test"):
        np.testing.assert_array_equal(getattr(again, name), getattr(images, name))


def test_what_defines_the_pixels_names_the_file(tmp_path):
    images = write_images(tmp_path)
    folder = tmp_path / "cache"

    def files() -> int:
        return len(list((folder / "decoded").glob("*.uint8")))

    built(images, folder)
    built(images, folder, resize=8)
    built(images, folder, resize_filter="nearest")
    assert files() == 3
    built(image_list(tmp_path, list(images.files), crop_bottom=1), folder)
    assert files() == 4
    built(image_list(tmp_path, list(images.files[::-1])), folder)
    assert files() == 5
    path = tmp_path / images.files[0]
    content = path.read_bytes()
    Image.new("RGB", (9, 9)).save(path)  # another file of that name
    path.write_bytes(path.read_bytes().ljust(len(content), b"\0"))  # and of that size
    assert path.stat().st_size == len(content)
    assert not built(images, folder).pixels[0].any()
    assert files() == 6


@pytest.mark.parametrize("keep", [slice(0, 0), slice(0, 100), slice(1, None)])
def test_a_damaged_file_is_named_and_made_again(tmp_path, caplog, keep):
    images, folder = write_images(tmp_path), tmp_path / "cache"
    pixels = np.array(built(images, folder).pixels)
    (path,) = (folder / "decoded").glob("*.uint8")
    content = path.read_bytes()
    path.write_bytes(content[keep].rjust(len(content), b"\0"))
    np.testing.assert_array_equal(built(images, folder).pixels, pixels)
    assert f"{path} is damaged" in caplog.text
    assert path.read_bytes() == content


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cached", [True, False])
def test_arrays_are_squashed_by_the_same_code(tmp_path, channels, cached):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 10, channels), dtype=np.uint8)
    data = Dataset(
        name="toy",
        labels=np.arange(4) % 2,
        classes=("a", "b"),
        train=np.arange(2),
        test=np.arange(2, 4),
        pixels=pixels,
    )
    squashed = decode(data, resize=SIDE, resize_filter="bicubic", folder=tmp_path if cached else None)
    assert squashed.pixels.shape == (4, SIDE, SIDE, channels)
    for channel in range(channels):
        expected = Image.fromarray(pixels[2, ..., channel]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(squashed.pixels[np.array([2])][0, ..., channel], np.asarray(expected))
    assert decode(squashed, resize=SIDE, resize_filter="nearest", folder=tmp_path) is squashed


def test_missing_and_damaged_files_are_named_before_training(tmp_path):
    images = write_images(tmp_path, count=12)
    for number in (0, 3, 6, 9, 10):
        path = tmp_path / images.files[number]
        path.write_bytes(path.read_bytes()[: 200 if number else -60])
    with pytest.raises(UserError, match=r"data toy: an image cannot be read \(class0/000.jpg: .*truncated"):
        built(images, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache" / "decoded").iterdir()] == [".lock"]
    with pytest.raises(UserError, match=r"class0/000.jpg: .*truncated"):
        built(images, None).pixels[np.array([1, 0])]
    (tmp_path / images.files[4]).unlink()
    missing = r"1 of 12 images is missing or not a file below .* \(first: class0/004.jpg\)"
    with pytest.raises(UserError, match=missing):
        built(images, tmp_path / "cache")


@pytest.mark.parametrize(
    ("error", "seen", "words"),
    [
        (OSError(28, "No space left on device"), UserError, "No space left on device.*make room"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
)
def test_a_build_that_stops_leaves_nothing_half_used(tmp_path, monkeypatch, error, seen, words):
    images = write_images(tmp_path)
    built(images, tmp_path / "cache", resize=8)
    before = sorted((tmp_path / "cache" / "decoded").iterdir())

    def stops(_handle: int) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", stops)
        with pytest.raises(seen, match=words):
            built(images, tmp_path / "cache")
    left = set((tmp_path / "cache" / "decoded").iterdir()) - set(before)
    assert [path.suffix for path in left] == [".lock"]
    expected = built(images, None).pixels[np.arange(6)]
    np.testing.assert_array_equal(built(images, tmp_path / "cache").pixels, expected)


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_decode import built, sorted_list
from cotune_bench.data import decode
read = decode.Squares.read
def slow(squares, row):
    time.sleep(0.02)
    print("read", row, flush=True)
    return read(squares, row)
decode.Squares.read = slow
built(sorted_list(Path(sys.argv[1])), Path(sys.argv[1]) / "cache")
"""


def sorted_list(root: Path) -> ImageList:
    return image_list(root, sorted(str(path.relative_to(root)) for path in root.glob("class*/*")))


def test_a_killed_decode_leaves_nothing_that_counts_and_starts_over(tmp_path):
    write_images(tmp_path, count=8)
    images, folder = sorted_list(tmp_path), tmp_path / "cache" / "decoded"
    command = [sys.executable, "-c", CHILD.format(tests=str(Path(__file__).parent)), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("read")
        child.kill()
    assert {path.suffix for path in folder.iterdir()}.isdisjoint({".uint8", ".crc32"})
    np.testing.assert_array_equal(built(images, tmp_path / "cache").pixels, built(images, None).pixels[np.arange(8)])


def test_of_two_processes_one_builds_and_the_other_waits(tmp_path):
    write_images(tmp_path, count=8)
    images = sorted_list(tmp_path)
    command = [sys.executable, "-c", CHILD.format(tests=str(Path(__file__).parent)), str(tmp_path)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sorted(len(output.splitlines()) for output in outputs) == [0, 8]
    np.testing.assert_array_equal(built(images, tmp_path / "cache").pixels, built(images, None).pixels[np.arange(8)])
