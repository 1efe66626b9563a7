"""TFRecord files and the examples in them, without TensorFlow.

Formats: tensorflow.org/tutorials/load_data/tfrecord and protobuf.dev/programming-guides/encoding; sums: RFC 3720.
"""

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cotune_bench.errors import UserError

Words = NDArray[np.uint32]
POLYNOMIAL, MASK = 0x82F63B78, 0xA282EAD8  # Castagnoli's, reversed; of the format
START = b"Td\x1fd"  # bytes that take a state of 0 to the start of a checksum, all ones
LANE = 256  # bytes of a checksum that follow one another; lanes are computed side by side


def records(path: Path) -> Iterator[bytes]:
    """The records of a file in order; UserError if a checksum is wrong or the file ends too early."""
    with path.open("rb") as file:
        while head := file.read(12):
            data = b""
            if len(head) == 12 and masked_checksum(head[:8]) == int.from_bytes(head[8:], "little"):
                (length,) = struct.unpack("<Q", head[:8])
                data, tail = file.read(length), file.read(4)
                if len(data) == length and masked_checksum(data) == int.from_bytes(tail, "little"):
                    yield data
                    continue
            raise UserError(f"{path} is damaged near byte {file.tell() - len(data)}: get it again")


def example(record: bytes) -> dict[str, list[bytes] | list[int]]:
    """The features of a serialised tf.train.Example by name: byte strings and whole numbers; others are left out.

    Raises:
        KeyError, IndexError, ValueError: it is something else.
    """
    found = {}
    for _, features in fields(record):
        for _, entry in fields(_bytes(features)):
            parts = dict(fields(_bytes(entry)))  # 1: the name, 2: the values
            for kind, values in fields(_bytes(parts.get(2, b""))):
                if kind in (1, 3):
                    found[_bytes(parts[1]).decode()] = _values(kind, _bytes(values))
    return found


def _values(kind: int, values: bytes) -> list:
    """A list of byte strings (1) or whole numbers (3), which may be packed."""
    if kind == 1:
        return [value for _, value in fields(values)]
    numbers: list[int] = []
    for _, value in fields(values):
        place = 0
        while isinstance(value, bytes) and place < len(value):
            number, place = _varint(value, place)
            numbers.append(number)
        if isinstance(value, int):
            numbers.append(value)
    return numbers


def fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of every field of a protocol buffer message: an int for a varint, else bytes."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == 2:
            size, place = _varint(message, place)
        else:
            size = {1: 8, 5: 4}[wire]
        yield number, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The number that starts at a place, and the place after it."""
    number = shift = 0
    while True:
        byte = message[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message of tf.train.Example should be")
    return value


# Checksums ----------------------------------------------------------------------------------------------------------


def masked_checksum(data: bytes) -> int:
    """The checksum of the format: CRC-32C, rotated and moved."""
    value = crc32c(data)
    return ((value >> 15 | value << 17) + MASK) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C of some bytes, by lanes that are computed side by side and joined afterwards."""
    data = START + data
    count = -(-len(data) // LANE)
    padded = np.zeros(count * LANE, np.uint8)  # zeros in front change nothing at a start of 0
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    state = 0
    tables = _after_lane()
    for lane in _passed(np.zeros(count, np.uint32), padded.reshape(count, LANE)).tolist():
        low, high = tables[0][state & 255] ^ tables[1][state >> 8 & 255], tables[2][state >> 16 & 255]
        state = low ^ high ^ tables[3][state >> 24] ^ lane
    return state ^ 0xFFFFFFFF


def _passed(states: Words, lanes: NDArray[np.uint8]) -> Words:
    """States (n,) after the bytes of lanes (n, length)."""
    table = _table()
    for column in lanes.T:
        states = table[(states ^ column) & 255] ^ states >> np.uint32(8)
    return states


@cache
def _table() -> Words:
    """What each byte changes."""
    states = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        states = np.where(states & 1, states >> np.uint32(1) ^ np.uint32(POLYNOMIAL), states >> np.uint32(1))
    return states


@cache
def _after_lane() -> list[list[int]]:
    """What a lane of zeros makes of each byte of a state, by its place."""
    states = np.arange(256, dtype=np.uint32) << 8 * np.arange(4, dtype=np.uint32)[:, None]
    return _passed(states.ravel(), np.zeros((1024, LANE), np.uint8)).reshape(4, 256).tolist()
