"""Views of the test images: offsets worked out by hand, and torchvision's own crops."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as torchvision

from cotune_bench.data.views import crop_offsets, crop_views
from cotune_bench.errors import UserError


def test_official_ten_crops_stop_one_pixel_short_and_start_flipped():
    half = [(0, 0), (31, 31), (31, 0), (0, 31), (16, 16)]
    expected = [(x, y, flip) for flip in (1, 0) for x, y in half]
    assert [tuple(row) for row in crop_offsets(256, 224, "official10").tolist()] == expected


@pytest.mark.parametrize(
    ("resize", "crop", "kind", "middle"),
    [
        (256, 224, "center", 16),
        (13, 8, "center", 2),  # 2.5 to the even 2
        (15, 8, "center", 4),  # 3.5 to the even 4
        (14, 8, "official10", 2),  # (14 - 8 - 1) / 2 = 2.5
        (8, 8, "official10", 0),
        (13, 8, "torchvision10", 2),
    ],
)
def test_middle_offsets_round_half_to_even(resize, crop, kind, middle):
    offsets = crop_offsets(resize, crop, kind)
    assert tuple(offsets[0 if kind == "center" else 4][:2]) == (middle, middle)


@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (13, 8), (15, 8), (8, 8)])
def test_torchvision_ten_crops_equal_torchvision(resize, crop):
    pixels = np.random.default_rng(0).integers(0, 256, (resize, resize, 3), dtype=np.uint8)
    found = crop_views(torch.from_numpy(pixels[None]), crop, crop_offsets(resize, crop, "torchvision10"))[0]
    expected = [np.asarray(view) for view in torchvision.ten_crop(Image.fromarray(pixels), [crop, crop])]
    assert np.array_equal(found, np.stack(expected))


def test_a_flipped_view_is_cropped_after_the_flip():
    image = torch.arange(9).reshape(1, 3, 3, 1)  # rows 012, 345, 678
    view = crop_views(image, 2, np.array([(1, 0, 1), (1, 0, 0), (0, 1, 0)]))[0, ..., 0]
    assert view.tolist() == [[[1, 0], [4, 3]], [[1, 2], [4, 5]], [[3, 4], [6, 7]]]


@pytest.mark.parametrize(("resize", "crop", "kind"), [(8, 9, "center"), (8, 0, "center"), (8, 8, "five")])
def test_impossible_views_are_refused(resize, crop, kind):
    with pytest.raises(UserError, match=r"crop=\d|views=five is unknown"):
        crop_offsets(resize, crop, kind)
