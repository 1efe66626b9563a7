"""Drawn characters: what is drawn, how it fills its box, how it is counted."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import ImageFont
from sklearn.datasets import load_digits

from cotune_bench.backbones.glyphnet import CLASSES, MEAN, STD
from cotune_bench.backbones.glyphs import (
    BOX,
    DEJAVU,
    FONT_SIZE,
    STIX,
    block_counts,
    glyphs,
    inked,
    moved,
    printed,
    skeletons,
    stroke_bank,
)
from cotune_bench.data.readers.letters import ALPHABETS


@pytest.fixture(scope="module")
def drawn():
    return glyphs(CLASSES, DEJAVU, 4, seed=0)


@pytest.fixture(scope="module")
def bank():
    return stroke_bank(CLASSES, DEJAVU)


def test_shapes_types_and_order(drawn):
    pixels, labels = drawn
    assert pixels.shape == (4 * len(CLASSES), 8, 8, 1)
    assert pixels.dtype == np.uint8
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, np.repeat(np.arange(len(CLASSES)), 4))


def test_source_classes_are_many_and_distinct_and_leave_the_targets_out():
    assert len(CLASSES) >= 150
    assert len(set(CLASSES)) == len(CLASSES)
    assert not any(name.isnumeric() for name in CLASSES)
    assert set("OlSBŁԲვ") <= set(CLASSES)
    assert not set(CLASSES) & set("".join(ALPHABETS.values()))
    assert not set(DEJAVU) & set(STIX)


def test_the_seed_decides_and_global_state_does_not():
    np.random.seed(3)
    before = np.random.rand()
    np.random.seed(3)
    first, again, other = (glyphs(CLASSES[:20], DEJAVU, 4, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(again, first)
    assert np.random.rand() == before
    assert (other != first).any(axis=(1, 2, 3)).mean() > 0.95


def test_pixels_are_counts_of_sixteenths(drawn):
    assert set(np.unique(drawn[0])) <= {round(count * 255 / 16) for count in range(17)}


def test_block_counts_of_a_worked_example():
    bitmap = np.zeros((1, 32, 32), bool)
    bitmap[0, 0:4, 0:4] = True  # all of the first block
    bitmap[0, 3:6, 31] = True  # one pixel of the last block in row 0, two of the one below
    expected = np.zeros((8, 8))
    expected[0, 0], expected[0, 7], expected[1, 7] = 16, 1, 2
    np.testing.assert_array_equal(block_counts(bitmap)[0], expected)


def test_glyphs_fill_their_box_like_digits(drawn):
    digits = load_digits(return_X_y=True)[0][:898].reshape(-1, 8, 8) / 16
    images = drawn[0][..., 0] / 255
    assert (images.max(axis=2) > 0).all(axis=1).mean() > 0.9  # all 8 rows hold ink
    assert abs(images.mean() - digits.mean()) < 0.03
    columns = images.mean(axis=(0, 1))
    assert columns[[0, 7]].max() < 0.05  # the outer columns are nearly free
    assert np.abs(columns - digits.mean(axis=(0, 1))).max() < 0.16
    assert abs(images.mean() - MEAN) < 0.02
    assert abs(images.std() - STD) < 0.02


def test_strokes_are_stretched_to_the_box(bank):
    points = moved(bank[0], np.random.default_rng(0))
    low, high = points.min(1), points.max(1)
    np.testing.assert_allclose(low[:, 1], 1.5, atol=1e-3)
    np.testing.assert_allclose(high[:, 1], BOX - 2.5, atol=1e-3)
    assert (high - low)[:, 0].max() <= 20.001


def test_ink_grows_to_the_drawn_share():
    line = np.stack([np.full(200, 15.5), np.linspace(2, 29, 200)], axis=1)
    bitmaps = inked(np.tile(line, (300, 1, 1)), np.random.default_rng(0))
    share = bitmaps.mean(axis=(1, 2))
    assert 0.28 < share.mean() < 0.33  # the wanted 0.285, and the last step goes past it
    assert share.min() > 0.19


def test_every_class_has_strokes_in_every_font_that_has_the_character(bank):
    points, owner, fonts = bank
    np.testing.assert_array_equal(np.bincount(owner), np.full(len(CLASSES), len(DEJAVU)))
    np.testing.assert_array_equal(np.bincount(fonts), np.full(len(DEJAVU), len(CLASSES)))
    assert np.ptp(points, axis=1).min(axis=0)[1] > 10  # no stroke is thinned away to a flat line
    _, owner, _ = stroke_bank("∞A", STIX)
    np.testing.assert_array_equal(np.bincount(owner), [2, 4])  # STIX italics lack the sign


def test_skeleton_of_a_bar_is_a_line_and_of_a_ring_a_ring():
    masks = np.zeros((2, 20, 20), bool)
    masks[0, 3:17, 8:13] = True
    masks[1, 3:17, 3:17] = True
    masks[1, 8:12, 8:12] = False
    bar, ring = skeletons(masks)
    assert bar.sum(axis=1).max() == 1
    assert bar.sum() >= 8
    assert set(np.nonzero(bar)[1]) <= {9, 10, 11}
    assert not ring[8:12, 8:12].any()
    assert (ring.sum(axis=0)[6:14] > 0).all()
    assert ring[10].sum() == 2  # left and right side, each one pixel


def test_a_printed_character_is_inside_its_canvas():
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    face = ImageFont.truetype(str(folder / "DejaVuSansMono-Bold.ttf"), FONT_SIZE)
    for character in CLASSES:
        mask = printed(character, face)
        assert mask.any()
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()
