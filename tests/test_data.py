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


def test_the_digits_are_those_of_scikit_learn_in_halves_by_order():
    images, labels = load_digits(return_X_y=True)
    data = digits.read("digits")
    assert (data.pixels.shape, data.pixels.dtype, data.labels.dtype) == ((1797, 8, 8, 1), np.uint8, np.int64)
    np.testing.assert_allclose(data.pixels.reshape(1797, 64), images * 255 / 16, atol=0.5)
    np.testing.assert_array_equal(data.labels, labels)
    assert data.classes == tuple("0123456789")
    assert data.train.tolist() == list(range(898))
    assert data.test.tolist() == list(range(898, 1797))
    assert data.val is None


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
    assert counts(classes_of(3)[hold_out(classes_of(3), 0.99, 0)[0]]) == [1]
    kept, held = hold_out(labels, 0, 0)
    assert kept.tolist() == list(range(len(labels)))
    assert len(held) == 0


def test_sample_takes_the_ceiling_of_the_rate_in_every_class():
    labels = classes_of(1, 6, 7, 20, 21)
    assert counts(labels[sample(labels, 0.15, 0)]) == [1, 1, 2, 3, 4]
    assert sample(labels, 1.0, 0).tolist() == list(range(len(labels)))
    alone = np.zeros(20, dtype=int)  # a class does not depend on the others
    beside = np.r_[alone, np.ones(7, dtype=int)]
    assert np.array_equal(sample(alone, 0.3, 0), [index for index in sample(beside, 0.3, 0) if index < 20])


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
    others = split(labels, 3, 0.3, val=0.2, order="split_then_sample", seed=1)
    for part, another in zip(splits[1], others, strict=True):
        assert len(part) == len(another)
        assert set(part) != set(another)


def test_splits_are_the_same_for_ever_and_everywhere():
    labels = np.arange(24) % 2
    train, val = split(labels, 2, 0.5, val=0.2, order="split_then_sample", seed=0)
    assert train.tolist() == [1, 2, 3, 5, 8, 9, 15, 16, 20, 22]
    assert val.tolist() == [4, 18, 19, 23]


@pytest.mark.parametrize("order", ["split_then_sample", "sample_then_split"])
def test_a_class_without_an_image_is_named(order):
    with pytest.raises(UserError, match=r"leaves 2 of 5 classes without a training image \(first: class 1\)"):
        split(np.array([0, 0, 2, 2, 4]), 5, 0.5, val=0.2, order=order, seed=0)
    train, val = split(np.array([0, 1, 1]), 2, 0.15, val=0.2, order=order, seed=0)  # a class of one image trains
    assert (0 in train, 0 in val) == (True, False)


# Target data -------------------------------------------------------------------------------------------------------


def test_the_training_seed_changes_the_order_of_batches_alone():
    first, other = make_data(seed=0, rate=0.5), make_data(seed=1, rate=0.5)
    for part in ("plain", "val", "test"):
        assert np.array_equal(getattr(first, part).images.index, getattr(other, part).images.index)
    assert first.fingerprint == other.fingerprint
    assert first.train.positions(0).tolist() != other.train.positions(0).tolist()


def test_fingerprints_distinguish_all_that_defines_the_images():
    dataset = make_dataset()
    relabelled = dataset.labels.copy()
    relabelled[[0, 1]] = relabelled[[1, 0]]
    changes = (
        {"labels": relabelled},
        {"labels": np.roll(dataset.labels, 1)},
        {"name": "other"},
        {"classes": ("x", "y", "z")},
        {"test": dataset.test[:-1]},
    )
    others = [make_data(dataclasses.replace(dataset, **change)) for change in changes]
    samples = [make_data(rate=0.5), make_data(rate=0.5, split_seed=1), make_data()]
    assert len({data.fingerprint for data in samples + others}) == len(samples + others)
    assert len({data.test_fingerprint for data in samples}) == 1  # whatever the split, the sample and the rate are
    assert len({data.test_fingerprint for data in samples[:1] + others[1:]}) == len(others)
    assert make_data(make_dataset()).fingerprint == samples[-1].fingerprint


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
    sampled = make_data(dataclasses.replace(dataset, sampled=True), rate=0.5)  # a list that is a sample already
    assert (counts(sampled.plain.labels), counts(sampled.val.labels)) == ([8, 8, 8], [2, 2, 2])
    whole = make_data(protocol=dataclasses.replace(PROTOCOL, val=0))
    assert (len(whole.val), list(whole.val), len(whole.plain)) == (0, [], 30)


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
    large = dataclasses.replace(batches, batch_size=1000)
    assert all(sorted(large.positions(step)) == list(range(24)) for step in range(3))
    assert large.positions(0).tolist() != large.positions(1).tolist()


def test_images_and_labels_of_a_batch_belong_together():
    data = make_data()
    batch, positions = data.train(5), data.train.positions(5)
    assert torch.equal(batch.inputs, data.plain.take(positions)[:, 0])
    assert batch.labels.tolist() == data.plain.labels[positions].tolist()
    assert batch.labels.dtype == torch.int64


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
    assert [len(chunk) for chunk in dataclasses.replace(data.test, batch_size=1)] == [1] * 30


def test_normalised_numbers_equal_numpy_in_float64():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)
    found = Normalize(mean, std, torch.device("cpu"))(pixels)
    expected = ((pixels / 255 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=5e-7)
    grey = np.full((2, 7, 4, 5, 1), 255, np.uint8)  # becomes three channels of their own statistics
    white = ((1 - np.array(mean)) / np.array(std)).reshape(3, 1, 1)
    found = Normalize(mean, std, torch.device("cpu"))(grey)
    np.testing.assert_allclose(found.numpy(), np.broadcast_to(white, (2, 7, 3, 4, 5)), rtol=1e-6)
