"""Kafka's default partitioner over many keys at once: aiokafka's murmur2 is Python and costs 2 µs a key, this one 0.1."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from closedloop.common.kafka.partitioner import partition_of

_SEED: Final = 0x9747B28C
_M: Final = np.uint32(0x5BD1E995)
_FEW: Final = 24


def places_by_partition(keys: Sequence[bytes], partitions: int) -> list[list[int]]:
    """For each partition the places of its keys, in order; the partition is the one that `partition_of` gives."""
    if len(keys) < _FEW:
        places: list[list[int]] = [[] for _ in range(partitions)]
        for place, key in enumerate(keys):
            places[partition_of(key, partitions)].append(place)
        return places
    found = _partitions_of(keys, partitions)
    return [np.flatnonzero(found == partition).tolist() for partition in range(partitions)]


def _partitions_of(keys: Sequence[bytes], partitions: int) -> NDArray[np.int64]:
    lengths = set(map(len, keys))
    if len(lengths) == 1:
        return _of_one_length(keys, lengths.pop(), partitions)
    found = np.empty(len(keys), np.int64)
    for length in lengths:
        places = [place for place, key in enumerate(keys) if len(key) == length]
        found[places] = _of_one_length([keys[place] for place in places], length, partitions)
    return found


def _of_one_length(keys: Sequence[bytes], length: int, partitions: int) -> NDArray[np.int64]:
    octets = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), length)
    words = length // 4
    blocks = octets[:, : words * 4].copy().view("<u4")
    h = np.full(len(keys), _SEED ^ length, np.uint32)
    for word in range(words):
        k = blocks[:, word] * _M
        k ^= k >> np.uint32(24)
        h = (h * _M) ^ (k * _M)
    rest = length % 4
    if rest:
        tail = octets[:, words * 4 :].astype(np.uint32)
        for place in range(rest):
            h ^= tail[:, place] << np.uint32(8 * place)
        h *= _M
    h ^= h >> np.uint32(13)
    h *= _M
    h ^= h >> np.uint32(15)
    return (h & np.uint32(0x7FFFFFFF)).astype(np.int64) % partitions
