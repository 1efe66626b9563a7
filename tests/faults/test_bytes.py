"""Flipped bits in what is kept on disk are never taken for what was written; COTUNE_STRIDE=1 tries every byte."""

import logging
import os
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from kept_runs import put_pets
from toy import toy_record

from cotune_bench.backbones import glyphnet
from cotune_bench.data.decode import decode
from cotune_bench.data.readers.folder import read
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache
from cotune_bench.storage.records import RecordStore
from faults.children import FAULTS

pytestmark = FAULTS


def flipped(content: bytes, tests: int) -> Iterator[bytes]:
    """The content with one bit of one byte changed, at about this many places, or at all."""
    stride = int(os.environ.get("COTUNE_STRIDE", max(1, len(content) // tests)))
    for place in range(0, len(content), stride):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        yield bytes(changed)


def test_a_record_with_a_changed_byte_is_never_counted(tmp_path):
    store = RecordStore(tmp_path)
    record = toy_record(
        metrics={"accuracy": 75.5, "nll": 0.5}, config={"method": {"weight": 0.1}}, environment={"a": 1}
    )
    path = store.add(record)
    for content in flipped(path.read_bytes(), 3000):
        path.write_bytes(content)
        records, damaged = store.read()
        assert records in ([], [record])  # a byte of white space between the values changes nothing
        assert len(records) + len(damaged) == 1


def test_a_cached_array_with_a_changed_byte_is_computed_again(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    arrays, cache = {"relationship": np.random.default_rng(0).random((10, 20))}, Cache(tmp_path)
    computed = []

    def compute():
        computed.append(1)
        return arrays

    cache.get("kind", {}, compute)
    (path,) = tmp_path.glob("kind/*.arrays")
    count = 1
    for content in flipped(path.read_bytes(), 300):
        path.write_bytes(content)
        assert (cache.get("kind", {}, compute)["relationship"] == arrays["relationship"]).all()
        count += 1
    assert len(computed) == count


def test_a_decoded_file_with_a_changed_byte_is_made_again(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    images = read("pets", str(put_pets(tmp_path / "pets", count=5)), test_share=0.4)
    made = decode(images, resize=8, resize_filter="bicubic", folder=tmp_path / "cache")
    expected = np.array(made.pixels)
    (path,) = tmp_path.glob("cache/decoded/*.uint8")
    for content in flipped(path.read_bytes(), 100):
        path.unlink()  # the map of the file before stays as it was
        path.write_bytes(content)
        again = decode(images, resize=8, resize_filter="bicubic", folder=tmp_path / "cache")
        assert (np.asarray(again.pixels) == expected).all()


def test_source_weights_with_a_changed_byte_are_refused(tmp_path, monkeypatch):
    copy = tmp_path / "glyphnet_weights"
    shutil.copytree(glyphnet.SHIPPED, copy)
    monkeypatch.setattr(glyphnet, "SHIPPED", copy)
    glyphnet.load(name="glyphnet", weights="glyphs", seed=0, cache=tmp_path)
    for changed in flipped((copy / "00.safetensors").read_bytes(), 200):
        (copy / "00.safetensors").write_bytes(changed)
        with pytest.raises(UserError, match="is not the file that was shipped"):
            glyphnet.load(name="glyphnet", weights="glyphs", seed=0, cache=tmp_path)
