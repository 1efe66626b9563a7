"""Crops made on a device are the host's, within one grey level; here the device is the CPU."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import PROTOCOL, make_data

from cotune_bench.data.dataset import Dataset
from cotune_bench.training.gpu_crops import antialias_weights, on_device

CROP = 24
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def photos() -> Dataset:
    """Smooth colours with edges, 40 images of 32 x 32."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    labels = np.tile(np.arange(2), 20)
    return Dataset(
        name="photos",
        pixels=np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8),
        labels=labels,
        classes=("a", "b"),
        train=np.arange(36),
        test=np.arange(36, 40),
    )


@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_the_host_s_within_one_grey_level(flip):
    protocol = dataclasses.replace(
        PROTOCOL, resize=32, crop=CROP, augment="resized_crop", scale=(0.08, 1.0), flip=flip, val=0.0, batch_size=12
    )
    host = make_data(photos(), protocol, mean=MEAN, std=STD).train
    device = on_device(host, protocol)
    levels = 255 * torch.tensor(STD)[:, None, None]
    for (ours, labels), step in zip(device.stream(0, 6), range(6), strict=True):
        theirs, expected = host(step)
        assert torch.equal(labels, expected)
        apart = ((ours - theirs) * levels).abs()
        assert apart.max() < 1.001
        assert apart.mean() < 0.25


def test_weights_by_hand():
    start, size = torch.tensor([1, 0]), torch.tensor([2, 4])
    same, half = antialias_weights(start, size, 4, 2)
    assert same.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]  # two pixels stay two pixels
    # centres 1 and 3, triangles of half width 2: 0.75, 0.75, 0.25 of the three pixels that are inside
    torch.testing.assert_close(half, torch.tensor([[3.0, 3, 1, 0], [0, 1, 3, 3]]) / 7)
