"""Base64 of many vectors at once: by table, two characters a step."""

import numpy as np
from numpy.typing import NDArray

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_INVALID = np.uint32(1 << 24)
_GROUP_CHARACTERS = 4
_GROUP_BYTES = 3
_PAD = ord("=")


def _pair_tables() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """For the first and the second pair of a group: its bits in three little-endian bytes."""
    values = np.full(256, 255, np.uint32)
    values[np.frombuffer(_ALPHABET, np.uint8)] = np.arange(64, dtype=np.uint32)
    values[_PAD] = 0  # counted apart
    pairs = np.arange(1 << 16)
    first, second = values[pairs & 255], values[pairs >> 8]
    bits = (first << 6) | second
    head = (bits >> 4) | ((bits & 15) << 12)
    tail = (bits >> 8 << 8) | ((bits & 255) << 16)
    invalid = (first == 255) | (second == 255)
    return np.where(invalid, _INVALID, head), np.where(invalid, _INVALID, tail)


_HEAD, _TAIL = _pair_tables()


def decode_base64(texts: list[str], size_bytes: int) -> NDArray[np.uint8] | None:
    """Decode texts that all hold ``size_bytes`` bytes: [texts, size_bytes].

    ``None`` where one of them is not base64 of that many bytes.
    """
    groups = -(-size_bytes // _GROUP_BYTES)
    padding = groups * _GROUP_BYTES - size_bytes
    joined = "".join(texts)
    if not joined.isascii() or any(len(each) != groups * _GROUP_CHARACTERS for each in texts):
        return None
    characters = np.frombuffer(joined.encode(), np.uint8)
    if joined.count("=") != padding * len(texts):
        return None
    if padding and (characters.reshape(len(texts), -1)[:, -padding:] != _PAD).any():
        return None
    pairs = characters.view("<u2")
    bits = _HEAD.take(pairs[0::2])
    bits |= _TAIL.take(pairs[1::2])
    if np.bitwise_or.reduce(bits) >= _INVALID:
        return None
    decoded = _three_of_four(bits).reshape(len(texts), groups * _GROUP_BYTES)
    return decoded if not padding else np.ascontiguousarray(decoded[:, :size_bytes])


def _three_of_four(bits: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The three lower bytes of each number: four numbers make three words."""
    length = len(bits)
    if length % 4:
        bits = np.concatenate([bits, np.zeros(-length % 4, np.uint32)])
    words = np.empty((len(bits) // 4, 3), "<u4")
    words[:, 0] = bits[0::4] | (bits[1::4] << 24)
    words[:, 1] = (bits[1::4] >> 8) | (bits[2::4] << 16)
    words[:, 2] = (bits[2::4] >> 16) | (bits[3::4] << 8)
    return words.view(np.uint8).reshape(-1)[: length * _GROUP_BYTES]
