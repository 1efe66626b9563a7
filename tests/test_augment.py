"""Random crops against torchvision's own rule and PIL's pixels."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision.transforms.transforms as published
from PIL import Image

from cotune_bench.data.augment import make_augment, resized_crop_boxes

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def photos(count: int, side: int = 64, channels: int = 3) -> np.ndarray:
    """Blobs of several sizes, sharp edges and some noise."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count * channels):
        layers = [Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8)) for cells in (3, 9)]
        smooth = sum(np.asarray(layer.resize((side, side), Image.Resampling.BICUBIC), float) for layer in layers) / 2
        smooth[rng.integers(side) :, rng.integers(side) :] = rng.integers(256)
        images.append(np.clip(smooth + rng.normal(0, 10, (side, side)), 0, 255).astype(np.uint8))
    return np.stack(images).reshape(count, channels, side, side).transpose(0, 2, 3, 1).copy()


def by_torchvision(draws: np.ndarray, height: int, width: int, scale, ratio, monkeypatch) -> tuple[int, ...]:
    """The box of RandomResizedCrop.get_params, fed with these numbers in place of torch's."""
    tries = (len(draws) - 2) // 2
    numbers = iter(np.stack([draws[2 : 2 + tries], draws[2 + tries :]], axis=1).ravel())
    corner = iter(draws[:2])

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.tensor(float(low + (high - low) * next(numbers)), dtype=torch.float64)

    fake = SimpleNamespace(
        empty=lambda _size: SimpleNamespace(uniform_=uniform),
        randint=lambda low, high, size: torch.tensor([low + math.floor(next(corner) * (high - low))]),
        tensor=lambda values: torch.tensor(values, dtype=torch.float64),
        log=torch.log,
        exp=torch.exp,
    )
    with monkeypatch.context() as patch:
        patch.setattr(published, "torch", fake)
        image = Image.new("L", (width, height))
        return tuple(published.RandomResizedCrop.get_params(image, scale, ratio))


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (256, 256, SCALE, RATIO),
        (32, 32, SCALE, RATIO),
        (40, 90, SCALE, RATIO),
        (90, 31, (0.9, 1.0), RATIO),  # hardly a try fits: mostly the largest central box
        (31, 90, (0.9, 1.0), RATIO),
        (50, 50, (1.0, 1.0), (1.5, 2.0)),
        (7, 7, (0.0001, 0.02), RATIO),  # boxes that round to nothing
    ],
)
def test_boxes_are_those_of_torchvision(height, width, scale, ratio, monkeypatch):
    draws = np.random.default_rng(1).random((300, 22))
    boxes = resized_crop_boxes(draws, height, width, scale=scale, ratio=ratio)
    expected = [by_torchvision(row, height, width, scale, ratio, monkeypatch) for row in draws]
    np.testing.assert_array_equal(boxes, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_resized_crops_are_within_one_grey_level_of_pil(channels):
    images, crop = photos(24, channels=channels), 56
    augmented = make_augment("resized_crop", crop=crop, shift=0, flip=False)(images, np.random.default_rng(2))
    assert augmented.shape == (24, crop, crop, channels)
    assert augmented.dtype == np.uint8
    boxes = resized_crop_boxes(np.random.default_rng(2).random((24, 23))[:, :-1], 64, 64, scale=SCALE, ratio=RATIO)
    differences = []
    for image, (top, left, rows, columns), pixels in zip(images, boxes.tolist(), augmented, strict=True):
        box = Image.fromarray(image.squeeze()).crop((left, top, left + columns, top + rows))
        reference = np.asarray(box.resize((crop, crop), Image.Resampling.BILINEAR)).reshape(pixels.shape)
        differences.append(np.abs(reference.astype(int) - pixels))
    assert np.max(differences) <= 1
    assert np.mean(differences) < 0.05


@pytest.mark.parametrize("kind", ["none", "shift", "resized_crop"])
def test_half_of_the_images_are_mirrored_exactly(kind):
    images = photos(40, side=24)
    options = {"crop": 16, "shift": 2}
    plain = make_augment(kind, flip=False, **options)(images, np.random.default_rng(3))
    flipped = make_augment(kind, flip=True, **options)(images, np.random.default_rng(3))
    mirrored = [not np.array_equal(one, other) for one, other in zip(plain, flipped, strict=True)]
    assert 10 < sum(mirrored) < 30
    np.testing.assert_array_equal(flipped[mirrored], plain[mirrored, :, ::-1])


@pytest.mark.parametrize("kind", ["none", "shift", "resized_crop"])
def test_a_row_depends_on_generator_and_position_alone(kind):
    images = photos(9, side=24)
    before = images.copy()
    augment = make_augment(kind, crop=16, shift=2, flip=True)
    whole = augment(images, np.random.default_rng(4))
    np.testing.assert_array_equal(augment(images[:4], np.random.default_rng(4)), whole[:4])
    other = images.copy()
    other[:8] = 0
    np.testing.assert_array_equal(augment(other, np.random.default_rng(4))[8], whole[8])
    np.testing.assert_array_equal(images, before)


def test_shifted_windows_are_inside_the_padded_image():
    images = np.arange(1, 17, dtype=np.uint8).reshape(1, 4, 4, 1).repeat(200, axis=0)
    windows = make_augment("shift", crop=4, shift=1, flip=False)(images, np.random.default_rng(5))
    padded = np.pad(images[0, ..., 0], 1)
    allowed = {padded[y : y + 4, x : x + 4].tobytes() for y in range(3) for x in range(3)}
    assert {window.tobytes() for window in windows} == allowed


def test_none_is_the_central_crop():
    images = np.arange(36, dtype=np.uint8).reshape(1, 6, 6, 1)
    center = make_augment("none", crop=2, shift=0, flip=False)(images, np.random.default_rng(6))
    np.testing.assert_array_equal(center[0, ..., 0], [[14, 15], [20, 21]])
