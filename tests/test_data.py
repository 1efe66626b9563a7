"""The data path: which images train, in which order, and as which numbers."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from conftest import PROTOCOL, make_data, make_dataset
from sklearn.datasets import load_digits

from cotune_bench.data.dataset import Dataset
from cotune_bench.data.readers import digits
from cotune_bench.data.splits import hold_out, sample, split
from cotune_bench.data.target import Normalize
from cotune_bench.errors import UserError

RATES = (0.15, 0.3, 0.5, 1.0)


def classes_of(*sizes: int) -> np.ndarray:
    """Labels, mixed, of classes of these sizes."""
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))


def counts(labels: np.ndarray) -> list[int]:
    return np.bincount(labels).tolist()


# Digits ------------------------------------------------------------------------------------------------------------


def test_digits_are_1797_scans_of_16_grey_levels_in_halves_by_order():
    data = digits.read("digits")
    assert data.pixels.shape == (1797, 8, 8, 1)
    assert data.pixels.dtype == np.uint8
    assert data.labels.dtype == np.int64
    assert data.classes == tuple("0123456789")
    assert data.train.tolist() == list(range(898))
    assert data.test.tolist() == list(range(898, 1797))
    assert data.val is None
    assert set(np.unique(data.pixels).tolist()) == {round(level * 255 / 16) for level in range(17)}
    assert data.labels[:10].tolist() == list(range(10))
    assert data.pixels[0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 1, 3])}, r"a label is outside 0\.\.1"),
        ({"labels": np.array([0, -1, 0])}, r"a label is outside 0\.\.1"),
        ({"test": np.array([3])}, r"names an image outside 0\.\.2"),
        ({"test": np.array([1])}, "in two parts of the split"),
        ({"train": np.array([0, 0])}, "or twice in one"),
        ({"val": np.array([0])}, "in two parts of the split"),
        ({"pixels": np.zeros((2, 8, 8, 1), np.uint8)}, "2 images but 3 labels"),
    ],
)
def test_a_dataset_that_contradicts_itself_is_refused(change, message):
    sound = {
        "name": "toy",
        "labels": np.array([0, 1, 0]),
        "classes": ("a", "b"),
        "train": np.array([0, 1]),
        "test": np.array([2]),
        "pixels": np.zeros((3, 8, 8, 1), np.uint8),
    }
    Dataset(**sound)
    with pytest.raises(UserError, match=message):
        Dataset(**{**sound, **change})


# Splits ------------------------------------------------------------------------------------------------------------


def test_hold_out_takes_the_floor_of_its_share_at_least_one_and_leaves_one():
    labels = classes_of(1, 2, 4, 5, 9, 10, 14, 15)
    kept, held = hold_out(labels, 0.2, 0)
    assert counts(labels[held]) == [0, 1, 1, 1, 1, 2, 2, 3]
    assert counts(labels[kept]) == [1, 1, 3, 4, 8, 8, 12, 12]
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert kept.tolist() == sorted(kept)
    assert held.tolist() == sorted(held)


def test_hold_out_leaves_one_even_at_a_large_share():
    assert counts(classes_of(3)[hold_out(classes_of(3), 0.99, 0)[0]]) == [1]


def test_hold_out_of_nothing_holds_nothing_out():
    kept, held = hold_out(classes_of(3, 4), 0, 0)
    assert kept.tolist() == list(range(7))
    assert len(held) == 0
    assert kept[held].dtype.kind == "i"


def test_sample_takes_the_ceiling_of_the_rate_in_every_class():
    labels = classes_of(1, 6, 7, 20, 21)
    assert counts(labels[sample(labels, 0.15, 0)]) == [1, 1, 2, 3, 4]
    assert sample(labels, 1.0, 0).tolist() == list(range(len(labels)))


def test_rounding_errors_of_a_product_count_as_whole_numbers():
    assert 0.07 * 100 > 7
    assert 0.29 * 100 < 29
    labels = np.zeros(100, dtype=int)
    assert len(sample(labels, 0.07, 0)) == 7
    assert len(hold_out(labels, 0.29, 0)[1]) == 29


@pytest.mark.parametrize(
    ("sizes", "total", "sampled"),
    [
        ((30,) * 194 + (29,) * 6, 5994, [1000, 1800, 3000]),  # CUB-200-2011
        ((66,) * 33 + (67,) * 67, 6667, [1067, 2067, 3367]),  # FGVC Aircraft
    ],
)
def test_samples_have_the_sizes_of_the_lists_published_with_bss(sizes, total, sampled):
    labels = classes_of(*sizes)
    assert len(labels) == total
    assert [len(sample(labels, rate, 0)) for rate in RATES[:3]] == sampled


@pytest.mark.parametrize("order", ["split_then_sample", "sample_then_split"])
def test_train_and_validation_are_disjoint_and_stratified(order):
    labels = classes_of(20, 30, 41)
    train, val = split(labels, 3, 0.3, val=0.2, order=order, seed=0)
    assert not set(train) & set(val)
    if order == "split_then_sample":
        assert counts(labels[val]) == [4, 6, 8]
        assert counts(labels[train]) == [5, 8, 10]  # of 16, 24, 33
    else:
        assert counts(labels[val]) == [1, 1, 2]  # of 6, 9, 13
        assert counts(labels[train]) == [5, 8, 11]


def test_smaller_rates_are_subsets_and_validation_stays():
    labels = classes_of(20, 30, 41)
    splits = [split(labels, 3, rate, val=0.2, order="split_then_sample", seed=0) for rate in RATES]
    for (smaller, val), (larger, other) in itertools.pairwise(splits):
        assert set(smaller) < set(larger)
        assert np.array_equal(val, other)
    assert len(splits[-1][0]) + len(splits[-1][1]) == len(labels)


def test_the_split_seed_changes_both_parts():
    labels = classes_of(20, 30, 41)
    first, other = (split(labels, 3, 0.3, val=0.2, order="split_then_sample", seed=seed) for seed in (0, 1))
    for part, another in zip(first, other, strict=True):
        assert len(part) == len(another)
        assert set(part) != set(another)


def test_splits_are_the_same_for_ever_and_everywhere():
    labels = np.arange(24) % 2
    train, val = split(labels, 2, 0.5, val=0.2, order="split_then_sample", seed=0)
    assert train.tolist() == [1, 2, 3, 5, 8, 9, 15, 16, 20, 22]
    assert val.tolist() == [4, 18, 19, 23]


def test_a_class_does_not_depend_on_the_others():
    alone = np.zeros(20, dtype=int)
    beside = np.r_[alone, np.ones(7, dtype=int)]
    assert np.array_equal(sample(alone, 0.3, 0), [index for index in sample(beside, 0.3, 0) if index < 20])


@pytest.mark.parametrize("order", ["split_then_sample", "sample_then_split"])
def test_a_class_without_an_image_is_named(order):
    with pytest.raises(UserError, match=r"leaves 2 of 5 classes without a training image \(first: class 1\)"):
        split(np.array([0, 0, 2, 2, 4]), 5, 0.5, val=0.2, order=order, seed=0)


def test_a_class_of_one_image_trains_in_either_order():
    for order in ("split_then_sample", "sample_then_split"):
        train, val = split(np.array([0, 1, 1]), 2, 0.15, val=0.2, order=order, seed=0)
        assert 0 in train
        assert 0 not in val


# Target data -------------------------------------------------------------------------------------------------------


def test_the_training_seed_changes_the_order_of_batches_alone():
    first, other = make_data(seed=0, rate=0.5), make_data(seed=1, rate=0.5)
    for part in ("plain", "val", "test"):
        assert np.array_equal(getattr(first, part).images.index, getattr(other, part).images.index)
    assert first.fingerprint == other.fingerprint
    assert first.train.positions(0).tolist() != other.train.positions(0).tolist()


def test_the_fingerprint_distinguishes_rate_split_seed_labels_and_name():
    dataset = make_dataset()
    relabelled = dataset.labels.copy()
    relabelled[[0, 1]] = relabelled[[1, 0]]
    found = [
        make_data(rate=0.5),
        make_data(),
        make_data(rate=0.5, split_seed=1),
        make_data(dataclasses.replace(dataset, labels=relabelled)),
        make_data(dataclasses.replace(dataset, name="other")),
        make_data(dataclasses.replace(dataset, classes=("x", "y", "z"))),
        make_data(dataclasses.replace(dataset, test=dataset.test[:-1])),
    ]
    assert len({data.fingerprint for data in found}) == len(found)
    assert make_data(make_dataset()).fingerprint == found[1].fingerprint


def test_the_fingerprint_of_the_test_images_is_that_of_all_splits_and_rates_but_of_no_other_labels():
    usual = make_data().test_fingerprint
    assert make_data(split_seed=1, rate=0.5, seed=3).test_fingerprint == usual
    dataset = make_dataset()
    moved = dataclasses.replace(dataset, labels=np.roll(dataset.labels, 1))
    fewer = dataclasses.replace(dataset, test=dataset.test[1:])
    named = dataclasses.replace(dataset, name="other")
    assert len({usual, *(make_data(one).test_fingerprint for one in (moved, fewer, named))}) == 4


def test_train_and_validation_come_from_the_official_training_images():
    dataset, data = make_dataset(), make_data(rate=0.5)
    assert len(data.plain) == 3 * 4  # ceil(0.5 * 8) of the 10 less 2 of every class
    assert len(data.val) == 3 * 2
    assert set(data.plain.images.index) | set(data.val.images.index) <= set(dataset.train)
    assert np.array_equal(data.test.images.index, dataset.test)
    assert np.array_equal(data.plain.labels, dataset.labels[data.plain.images.index])
    assert data.train.images is data.plain.images
    assert data.classes == dataset.classes


def test_an_official_validation_part_is_kept_and_training_images_are_still_sampled():
    dataset = make_dataset()
    official = dataclasses.replace(dataset, train=dataset.train[6:], val=dataset.train[:6])
    data = make_data(official, rate=0.5)
    assert np.array_equal(data.val.images.index, official.val)
    assert counts(data.plain.labels) == [4, 4, 4]  # ceil(0.5 * 8)
    assert set(data.plain.images.index) < set(official.train)


def test_a_list_that_is_a_sample_already_is_not_sampled_again():
    data = make_data(dataclasses.replace(make_dataset(), sampled=True), rate=0.5)
    assert counts(data.plain.labels) == [8, 8, 8]
    assert counts(data.val.labels) == [2, 2, 2]


def test_no_validation_images_where_the_protocol_wants_none():
    data = make_data(protocol=dataclasses.replace(PROTOCOL, val=0))
    assert len(data.val) == 0
    assert list(data.val) == []
    assert len(data.plain) == 30


def test_images_whose_colours_do_not_fit_the_backbone_are_refused():
    dataset = make_dataset()
    coloured = dataclasses.replace(dataset, pixels=np.repeat(dataset.pixels, 3, axis=3))
    assert make_data(coloured, mean=(0.5,) * 3, std=(0.25,) * 3).train(0).inputs.shape == (8, 3, 8, 8)
    with pytest.raises(UserError, match="data toy has 3 colour channels and the backbone takes 1"):
        make_data(coloured)


# Batches -----------------------------------------------------------------------------------------------------------


def test_a_batch_is_a_function_of_seed_and_step():
    protocol = dataclasses.replace(PROTOCOL, augment="shift", shift=2, flip=True)
    first, other = make_data(protocol=protocol), make_data(protocol=protocol)
    for step in (7, 0, 3, 3):  # in any order, again and again
        batch, again = first.train(step), other.train(step)
        assert torch.equal(batch.inputs, again.inputs)
        assert torch.equal(batch.labels, again.labels)
    assert not torch.equal(first.train(0).inputs, first.train(1).inputs)
    assert not torch.equal(first.train(0).inputs, make_data(protocol=protocol, seed=1).train(0).inputs)


def test_every_pass_shows_distinct_images_in_a_new_order_and_drops_the_remainder():
    batches = make_data(rate=1.0).train  # 24 images, batches of 8
    uneven = dataclasses.replace(batches, batch_size=10)
    for train, steps, size in ((batches, 3, 8), (uneven, 2, 10)):
        passes = [
            np.concatenate([train.positions(epoch * steps + step) for step in range(steps)]) for epoch in range(3)
        ]
        for positions in passes:
            assert len(set(positions)) == len(positions) == steps * size
        assert not np.array_equal(passes[0], passes[1])
        assert not np.array_equal(passes[1], passes[2])
    assert sorted(set(np.concatenate([batches.positions(step) for step in range(3)]))) == list(range(24))


def test_with_fewer_images_than_a_batch_each_batch_holds_all():
    batches = dataclasses.replace(make_data().train, batch_size=1000)
    for step in range(3):
        assert sorted(batches.positions(step)) == list(range(24))
    assert batches.positions(0).tolist() != batches.positions(1).tolist()


def test_images_and_labels_of_a_batch_belong_together():
    data = make_data()
    batch, positions = data.train(5), data.train.positions(5)
    assert torch.equal(batch.inputs, data.plain.take(positions)[:, 0])
    assert batch.labels.tolist() == data.plain.labels[positions].tolist()
    assert batch.labels.dtype == torch.int64


# Augmentation ------------------------------------------------------------------------------------------------------

AUGMENTATIONS = {
    "none": {"augment": "none", "flip": True, "crop": 6},
    "shift": {"augment": "shift", "shift": 2, "flip": True},
    "resized_crop": {"augment": "resized_crop", "scale": (0.2, 1.0), "flip": True, "crop": 6},
}


@pytest.fixture(params=AUGMENTATIONS)
def augmentation(request):
    protocol = dataclasses.replace(PROTOCOL, **AUGMENTATIONS[request.param])
    return make_data(protocol=protocol).train.augment


def test_a_row_of_augmentation_does_not_depend_on_the_size_of_its_batch(augmentation):
    pixels = make_dataset().pixels[:16].copy()
    whole = augmentation(pixels, np.random.default_rng(5))
    assert whole.dtype == np.uint8
    for size in (1, 3, 15):
        assert np.array_equal(augmentation(pixels[:size], np.random.default_rng(5)), whole[:size])


def test_augmentation_varies_and_leaves_the_images_alone(augmentation):
    pixels = np.repeat(make_dataset().pixels[:1], 200, axis=0)
    before = pixels.copy()
    changed = augmentation(pixels, np.random.default_rng(0))
    assert len(np.unique(changed.reshape(200, -1), axis=0)) > 1
    assert np.array_equal(pixels, before)


def test_shifts_reach_every_offset_and_flips_half_of_the_images():
    image = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    protocol = dataclasses.replace(PROTOCOL, resize=3, crop=3, augment="shift", shift=1, flip=True)
    dataset = dataclasses.replace(make_dataset(), pixels=np.zeros((60, 3, 3, 1), np.uint8))
    augment = make_data(dataset, protocol).train.augment
    padded = np.pad(image[0, ..., 0], 1)
    windows = [padded[y : y + 3, x : x + 3] for y in range(3) for x in range(3)]
    expected = {window[:, ::step].tobytes() for window in windows for step in (1, -1)}
    found = [row.tobytes() for row in augment(np.repeat(image, 2000, axis=0), np.random.default_rng(0))]
    assert set(found) == expected
    flipped = sum(row in {window[:, ::-1].tobytes() for window in windows} for row in found)
    assert 900 < flipped < 1100


def test_without_augmentation_the_centre_is_seen():
    protocol = dataclasses.replace(PROTOCOL, crop=4)
    whole = make_data().train(0).inputs
    assert torch.equal(make_data(protocol=protocol).train(0).inputs, whole[:, :, 2:6, 2:6])


# Views and numbers -------------------------------------------------------------------------------------------------


def test_views_come_in_order_with_a_last_partial_batch():
    data = make_data(protocol=dataclasses.replace(PROTOCOL, crop=6, views="official10"))
    views = dataclasses.replace(data.test, batch_size=70)  # 7 images of 10 views
    chunks = list(views)
    assert [tuple(chunk.shape) for chunk in chunks] == [(7, 10, 1, 6, 6)] * 4 + [(2, 10, 1, 6, 6)]
    assert torch.equal(torch.cat(chunks), torch.cat(list(data.test)))
    assert len(views) == len(views.labels) == 30
    dataset = make_dataset()
    first = data.test.normalize(dataset.pixels[dataset.test[:1]])[0]
    flipped = first.flip(-1)
    assert torch.equal(chunks[0][0, 0], flipped[:, :6, :6])
    assert torch.equal(chunks[0][0, 6], first[:, 1:7, 1:7])
    assert data.plain.take(np.array([4, 2])).shape == (2, 1, 1, 6, 6)


def test_a_batch_of_views_holds_at_least_one_image():
    data = make_data(protocol=dataclasses.replace(PROTOCOL, crop=6, views="official10"))
    assert [len(chunk) for chunk in dataclasses.replace(data.val, batch_size=1)] == [1] * 6
    assert [len(chunk) for chunk in dataclasses.replace(data.test, batch_size=1)] == [1] * 30


def test_normalised_numbers_equal_numpy_in_float64():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)
    found = Normalize(mean, std, torch.device("cpu"))(pixels)
    expected = ((pixels / 255 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=5e-7)


def test_a_grey_image_becomes_three_channels_of_their_own_statistics():
    mean, std = (0.2, 0.4, 0.6), (0.5, 0.25, 0.125)
    found = Normalize(mean, std, torch.device("cpu"))(np.full((2, 7, 4, 5, 1), 255, np.uint8))
    assert found.shape == (2, 7, 3, 4, 5)
    for channel in range(3):
        expected = (1 - mean[channel]) / std[channel]
        assert found[:, :, channel].unique().tolist() == pytest.approx([expected], rel=1e-6)


def test_the_digits_are_those_of_scikit_learn():
    images, labels = load_digits(return_X_y=True)
    found = digits.read("digits")
    assert found.pixels.shape == (1797, 8, 8, 1)
    np.testing.assert_allclose(found.pixels.reshape(1797, 64), images * 255 / 16, atol=0.5)
    np.testing.assert_array_equal(found.labels, labels)
