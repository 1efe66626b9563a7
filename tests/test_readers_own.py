"""Readers of a user's own images: class folders and lists."""

import numpy as np
import pytest
import trees
from trees import parts, refused

from cotune_bench.data.readers import folder, imagelist
from cotune_bench.data.readers.common import missing_files

# Folders ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validation", ["val", "valid", "dev"])
def test_folder_with_its_own_parts(tmp_path, validation):
    trees.folders(tmp_path, {f"{part}/{kind}": 1 for part in ("train", validation, "test") for kind in ("2", "10")})
    data = folder.read("mine", str(tmp_path))
    assert data.classes == ("2", "10")
    assert parts(data)["val"] == [(f"{validation}/2/001.jpg", 0), (f"{validation}/10/001.jpg", 1)]


def test_folder_takes_nested_classes_by_their_paths(tmp_path):
    data = folder.read("mine", str(trees.folders(tmp_path, {"fruit/apple/gala": 3, "fruit/pear": 3, "milk": 3})))
    assert data.classes == ("fruit/apple/gala", "fruit/pear", "milk")
    assert data.files[0].startswith("fruit/apple/gala/")


def test_folder_distinguishes_names_that_differ_in_special_characters(tmp_path):
    trees.folders(tmp_path, {f"{part}/{kind}": 1 for part in ("train", "test") for kind in ("c++", "c", "C")})
    data = folder.read("mine", str(tmp_path))
    assert data.classes == ("C", "c", "c++")
    assert [label for _, label in parts(data)["test"]] == [0, 1, 2]


def test_folder_draws_the_test_images_by_split_seed(tmp_path):
    trees.folders(tmp_path, {"cat": 10, "dog 1": 5, "train": 2})
    first, again, other = (folder.read("mine", str(tmp_path), 0.3, seed) for seed in (0, 0, 1))
    assert first.classes == ("cat", "dog 1", "train")
    assert np.bincount(first.labels[first.test]).tolist() == [3, 1, 1]
    assert np.bincount(first.labels[first.train]).tolist() == [7, 4, 1]
    assert parts(first) == parts(again) != parts(other)


def test_folder_leaves_out_what_is_no_image(tmp_path):
    trees.folders(tmp_path, {"cat": 2, "dog": 2, "__MACOSX/cat": 1, ".cache": 1})
    trees.put_image(tmp_path / "cat/UPPER.JPG")
    for file in ("cat/._001.jpg", "cat/Thumbs.db", "dog/notes.txt"):
        (tmp_path / file).write_bytes(b"")
    data = folder.read("mine", str(tmp_path))
    assert sorted(data.files) == ["cat/001.jpg", "cat/002.jpg", "cat/UPPER.JPG", "dog/001.jpg", "dog/002.jpg"]
    assert data.strays == ("cat/Thumbs.db", "dog/notes.txt")  # hidden ones do not count


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "no class folders"),
        ({".": 3}, "no class folders"),
        ({"cat": 3}, "one class folder"),
        ({"cat": 3, "dog": 1}, "dog holds one image: "),
        ({"cat": 1, "dog": 1}, "cat holds one image (2 such classes): "),
        ({"cat": 3, "dog": 3, "dog/young": 3}, "dog holds images and a folder (young)"),
        ({"mine/train/cat": 2, "mine/train/dog": 2}, "one class folder"),
        ({"train/cat": 2, "train/dog": 2}, "test is missing"),
        ({"train": 2, "test": 2}, "no class folders"),
        ({"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/cow": 1}, "cow is not one of the 2 classes"),
    ],
)
def test_folder_refuses(tmp_path, counts, words):
    refused(lambda: folder.read("mine", str(trees.folders(tmp_path, counts))), words)


def test_folder_without_images_root_or_a_usable_share(tmp_path):
    trees.folders(tmp_path, {"cat": 2, "dog": 2})
    refused(lambda: folder.read("mine", str(tmp_path), test_share=1.0), "test_share=1.0")
    refused(lambda: folder.read("mine", str(trees.put_image(tmp_path / "a.jpg"))), "a.jpg is not a folder")
    (tmp_path / "cow").mkdir()
    refused(lambda: folder.read("mine", str(tmp_path)), "cow holds no images", ".jpg")
    refused(lambda: folder.read("mine", str(tmp_path / "none")), "none is missing", "data.root")


# Lists --------------------------------------------------------------------------------------------------------------

LISTS = {"train": "image_list/train_{rate}.txt", "test": "image_list/test.txt"}


@pytest.mark.parametrize(("rate", "count"), [(0.15, 2), (0.5, 4), (1.0, 8)])
def test_imagelist_takes_the_sample_of_the_rate_unchanged(tmp_path, rate, count):
    data = imagelist.read("mine", str(trees.tllib(tmp_path)), **LISTS, rate=rate)
    assert (len(data.train), len(data.test), data.val, data.sampled) == (count, 2, None, True)
    assert parts(data)["train"][:2] == [("train/0/img 0.jpg", 0), ("train/1/img 0.jpg", 1)]
    assert data.classes == ("0", "1")
    assert not missing_files(data)


def test_imagelist_of_a_whole_training_set_with_validation_and_names(tmp_path):
    trees.tllib(tmp_path)
    trees.put_lines(tmp_path / "names.txt", ["cat", "dog"])
    trees.put_lines(tmp_path / "val.txt", [f"{tmp_path}/val/a b.png,1", "val\\c.png\t0"])
    lists = {
        "train": "image_list/train_100.txt",
        "test": "image_list/test.txt",
        "val": "val.txt",
        "classes": "names.txt",
    }
    data = imagelist.read("mine", str(tmp_path), **lists, sampled=False, rate=0.5)
    assert (data.sampled, data.classes) == (False, ("cat", "dog"))
    assert parts(data)["val"] == [("val/a b.png", 1), ("val/c.png", 0)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train": "image_list/train_15.txt"}, "the same list at every rate"),
        ({"sampled": False}, "sample again"),
        ({"rate": 0.3}, "train_30.txt is missing"),
        ({"test": "nothing.txt"}, "nothing.txt is missing"),
        ({"classes": "one.txt"}, "label 1, outside 0..0"),
        ({"test": "image_list/train_15.txt"}, "both in train and in test"),
        ({"test": "gap.txt"}, "label 7, outside 0..2"),
        ({"test": "latin.txt"}, "not a text file"),
        ({"val": "empty.txt"}, "no val images"),
    ],
)
def test_imagelist_refuses(tmp_path, options, words):
    trees.put_lines(trees.tllib(tmp_path) / "one.txt", ["cat"])
    trees.put_lines(tmp_path / "gap.txt", ["a.jpg 7"])
    trees.put_lines(tmp_path / "empty.txt", [])
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9.jpg 0\n")
    refused(lambda: imagelist.read("mine", str(tmp_path), **{**LISTS, "rate": 0.15, **options}), words)
