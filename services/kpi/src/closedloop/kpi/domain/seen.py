"""Which events were counted already: 64-bit hashes of source and id, per topic, partition and UTC day of event time.

A retry carries the same `time` and `customer_id`, so it meets its first appearance in the same partition and day. Two different
events fall onto one hash with a probability of n / 2^64 for the n events of that partition and day: with a million of them one
event in 18,000,000,000,000 is taken for a duplicate and not counted.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]
Mask: TypeAlias = NDArray[np.bool_]


class Place(NamedTuple):
    """Where an event's duplicates would be."""

    topic: str
    partition: int
    day: int
    """UTC, since 1970."""


class Seen:
    """The hashes of one place as sorted runs; a run is merged with the one before it while that is not much longer (as in an
    LSM tree), so that there are few and each hash is moved seldom."""

    def __init__(self, runs: Iterable[Hashes] = ()) -> None:
        self._runs: list[Hashes] = []
        for run in sorted(runs, key=len, reverse=True):
            self.add(run)

    def add(self, run: Hashes) -> None:
        """Take a sorted run."""
        while self._runs and self._runs[-1].size <= 2 * run.size:
            run = merged([self._runs.pop(), run])
        self._runs.append(run)

    def holds(self, hashes: Hashes) -> Mask:
        """Which of these (sorted, which is faster) are there."""
        found = np.zeros(hashes.size, dtype=np.bool_)
        for run in self._runs:
            if run.size:
                found |= run.take(np.searchsorted(run, hashes), mode="clip") == hashes
        return found

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return sum(run.nbytes for run in self._runs) + 200


def merged(runs: Iterable[Hashes]) -> Hashes:
    """One sorted run of all."""
    together = np.concatenate(list(runs))
    together.sort(kind="stable")  # finds the runs
    return together


class SeenCache:
    """The places used last, up to `max_bytes`; what is not here stands in the store."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._places: OrderedDict[Place, Seen] = OrderedDict()
        self._nbytes = 0

    def __len__(self) -> int:
        return len(self._places)

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return self._nbytes

    def take(self, places: Collection[Place]) -> dict[Place, Seen]:
        """Those of these places that are here."""
        found = {place: self._places[place] for place in places if place in self._places}
        for place in found:
            self._places.move_to_end(place)
        return found

    def put(self, place: Place, seen: Seen) -> None:
        """Keep what was read from the store."""
        self._nbytes += seen.nbytes - (self._places[place].nbytes if place in self._places else 0)
        self._places[place] = seen
        self._places.move_to_end(place)

    def add(self, runs: Mapping[Place, Hashes]) -> None:
        """These were committed. Places that are not here need no word: the store has them. Then shrink to `max_bytes`."""
        for place, run in runs.items():
            seen = self._places.get(place)
            if seen is not None:
                before = seen.nbytes
                seen.add(run)
                self._nbytes += seen.nbytes - before
        while self._nbytes > self._max_bytes and self._places:
            _, dropped = self._places.popitem(last=False)
            self._nbytes -= dropped.nbytes

    def clear(self) -> None:
        """Forget all."""
        self._places.clear()
        self._nbytes = 0


def places_of(topic: str, partitions: NDArray[np.int32], days: NDArray[np.int32]) -> Iterator[tuple[Place, NDArray[np.int64]]]:
    """(place, its rows in order) for events of one topic."""
    codes = partitions.astype(np.int64) << 32 | days
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for rows in np.split(order, starts[1:]) if order.size else ():
        yield Place(topic, int(partitions[rows[0]]), int(days[rows[0]])), rows


def fresh_of(hashes: Hashes, seen: Seen) -> tuple[NDArray[np.int64], Hashes]:
    """(rows of hashes that are new, each the first of its kind; these hashes sorted)."""
    unique, firsts = np.unique(hashes, return_index=True)
    new = ~seen.holds(unique)
    return firsts[new], unique[new]
