"""How an event is known again, and whether it says the same: a hash of source and id, and a fingerprint of type, time and content.

Both are stored with every event that was counted. So they must be the same in every process, on every machine and after every
upgrade: XXH3, which is fixed since 2020, and arithmetic on 64 bits; a test holds some values of them.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]
Fingerprints: TypeAlias = NDArray[np.uint32]
digest: Final = xxhash.xxh3_64_intdigest
# the constants of SplitMix64
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)
_HALF: Final = np.uint64(32)


def event_hashes(events: Sequence[Any]) -> Hashes:
    """64 bits of (source, id) each: XXH3 of the id, seeded with XXH3 of the source."""
    sources = [event.source for event in events]
    seeds = {source: digest(source.encode()) for source in set(sources)}
    seeding: Any = repeat(next(iter(seeds.values()))) if len(seeds) == 1 else map(seeds.__getitem__, sources)
    return np.fromiter(map(digest, [event.id.encode() for event in events], seeding), dtype=np.uint64, count=len(events))


def number_digests(numbers: NDArray[np.float64], salt: int) -> Hashes:
    """64 bits of each number; 0 where it is none (NaN)."""
    bits = (numbers + 0.0).view(np.uint64)  # there are two zeros; this leaves one
    digests = _mixed((bits ^ np.uint64(salt)) * _STEP)
    digests[np.isnan(numbers)] = 0
    return digests


def fingerprints(contents: Hashes, at: NDArray[np.int64]) -> Fingerprints:
    """32 bits of each event: its content's sum of digests, and its time. A field without value adds nothing to the sum, so a field
    that the contract gets later changes no fingerprint of before."""
    return (_mixed(contents + at.view(np.uint64) * _STEP) >> _HALF).astype(np.uint32)


def _mixed(words: Hashes) -> Hashes:
    """Each bit of a word has its say in the upper half of the result."""
    mixed: Hashes = (words ^ (words >> _HALF)) * _MIX
    return mixed ^ (mixed >> _HALF)
