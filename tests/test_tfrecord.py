"""TFRecord files and DMLab, which comes as such, on files made here."""

import numpy as np
import pytest
import trees
from PIL import Image
from trees import refused

from cotune_bench import cli
from cotune_bench.config import compose_config
from cotune_bench.data.readers import dmlab
from cotune_bench.data.readers.common import missing_files
from cotune_bench.data.tfrecord import LANE, crc32c, example, masked_checksum, records


def plain_crc32c(data: bytes) -> int:
    """Bit by bit, as RFC 3720 has it."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def test_checksums_are_those_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert masked_checksum(b"123456789") == 0xC78AB0E5  # 0x2507C60D, rotated by 15, plus 0xA282EAD8
    data = np.random.default_rng(0).bytes(3 * LANE + 7)
    for length in (0, 1, 3, 4, 5, LANE - 1, LANE, LANE + 1, len(data)):
        assert crc32c(data[:length]) == plain_crc32c(data[:length])


def test_records_are_read_in_order_and_damage_is_refused(tmp_path):
    path, contents = tmp_path / "a.tfrecord", [b"", b"one", bytes(range(256)) * 3]
    content = b"".join(map(trees.tfrecord, contents))
    path.write_bytes(content)
    assert list(records(path)) == contents
    for place in (3, 9, 17, 31, len(content) - 200, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        refused(lambda: list(records(path)), f"{path} is damaged near byte", "get it again")
    for length in (len(content) - 1, len(content) - 300, 5):
        path.write_bytes(content[:length])
        refused(lambda: list(records(path)), "is damaged near byte")


def test_an_example_gives_its_byte_strings_and_whole_numbers():
    assert example(trees.example(bytes(300), b"a/b.jpg", 5)) == {
        "image": [bytes(300)], "filename": [b"a/b.jpg"], "label": [5],
    }  # fmt: skip
    one_by_one = b"\x0a\x0e\x0a\x0c\x0a\x01n\x12\x07\x1a\x05\x08\xac\x02\x08\x01"
    packed = b"\x0a\x0e\x0a\x0c\x0a\x01n\x12\x07\x1a\x05\x0a\x03\xac\x02\x01"
    assert example(one_by_one) == example(packed) == {"n": [300, 1]}
    floats = b"\x0a\x0f\x0a\x0d\x0a\x01f\x12\x08\x12\x06\x0a\x04\x00\x00\x80?"
    assert example(floats) == {}


def test_dmlab_becomes_image_files_with_the_official_parts(tmp_path):
    trees.dmlab(tmp_path)
    refused(lambda: dmlab.read("dmlab", str(tmp_path)), "images/train.txt is missing", "prepare-data dmlab")
    dmlab.arrange(tmp_path)
    for root in (tmp_path, tmp_path / "images"):
        data = dmlab.read("dmlab", str(root))
        assert (len(data.train), len(data.val), len(data.test), len(data.classes)) == (3, 3, 6, 6)
        assert data.labels.tolist() == [0, 1, 2] * 4
        assert not missing_files(data)
    assert data.files[-1] == "test/000005.jpg"
    made = (tmp_path / "made/test.jpg").read_bytes()
    assert (tmp_path / "images/test/000005.jpg").read_bytes() == made
    with Image.open(data.root / data.files[0]) as image:
        assert image.size == (48, 36)
    assert not (tmp_path / "images.part").exists()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (trees.example(b"x", b"n", 1)[:-3], "without one image and one label"),
        (b"", "without one image and one label"),
        (b"\x08\x01", "without one image and one label"),
    ],
)
def test_other_records_are_refused(tmp_path, record, reason):
    trees.dmlab(tmp_path)
    (tmp_path / "records/dmlab-validation.tfrecord").write_bytes(trees.tfrecord(record))
    with pytest.raises(ValueError, match=reason):
        dmlab.arrange(tmp_path)
    assert not (tmp_path / "images").exists()
    (tmp_path / "records/dmlab-train.tfrecord").unlink()
    refused(lambda: dmlab.arrange(tmp_path), "dmlab-train.tfrecord is missing")


def test_prepare_data_arranges_what_is_there_and_checks_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trees.dmlab(tmp_path / "data/dmlab")
    assert cli.main(["prepare-data", "dmlab"]) == 1
    answer = capsys.readouterr()
    assert "dmlab: 6 classes, 3 train, 6 test, 3 val" in answer.out
    assert "train: 3 instead of 65550" in answer.err
    assert cli.main(["prepare-data", "dmlab"]) == 1
    assert "already there" in capsys.readouterr().out
    assert compose_config(["data=dmlab"]).backbone.name == "resnet50"
