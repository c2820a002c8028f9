"""Which events were counted already: 64-bit hashes of source and id, per topic, partition and UTC day of event time; and beside
each a 32-bit fingerprint of what the event said, which tells a repetition from another content under the same id.

A retry carries the same `time` and `customer_id`, so it meets its first appearance in the same partition and day. Two different
events fall onto one hash with a probability of n / 2^64 for the n events of that partition and day: with a million of them one
event in 18,000,000,000,000 is taken for a duplicate and not counted. One other content in 4,000,000,000 looks like a repetition.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]
Fingerprints: TypeAlias = NDArray[np.uint32]
Mask: TypeAlias = NDArray[np.bool_]


class Place(NamedTuple):
    """Where an event's duplicates would be."""

    topic: str
    partition: int
    day: int
    """UTC, since 1970."""


@dataclass(frozen=True, slots=True)
class Run:
    """Events by ascending hash, each once."""

    hashes: Hashes
    fingerprints: Fingerprints

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return self.hashes.nbytes + self.fingerprints.nbytes


class Seen:
    """The events of one place as runs; a run is merged with the one before it while that is not much longer (as in an LSM tree),
    so that there are few and each event is moved seldom."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._runs: list[Run] = []
        for run in sorted(runs, key=len, reverse=True):
            self.add(run)

    def add(self, run: Run) -> None:
        """Take a run of other events."""
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = merged([self._runs.pop(), run])
        self._runs.append(run)

    def find(self, hashes: Hashes) -> tuple[Mask, Fingerprints]:
        """(which of these are there, their fingerprints there; 0 where not). Ascending hashes are found faster."""
        found = np.zeros(hashes.size, dtype=np.bool_)
        fingerprints = np.zeros(hashes.size, dtype=np.uint32)
        for run in self._runs:
            if len(run):
                places = np.searchsorted(run.hashes, hashes)
                here = run.hashes.take(places, mode="clip") == hashes
                found |= here
                fingerprints[here] = run.fingerprints[places[here]]
        return found, fingerprints

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return sum(run.nbytes for run in self._runs) + 200


def merged(runs: Iterable[Run]) -> Run:
    """One run of all; of an event that stands in several, the first."""
    of = list(runs)
    hashes = np.concatenate([run.hashes for run in of])
    order = np.argsort(hashes, kind="stable")  # finds the runs
    hashes = hashes[order]
    fingerprints = np.concatenate([run.fingerprints for run in of])[order]
    is_first = np.diff(hashes, prepend=~hashes[:1]) != 0
    return Run(hashes, fingerprints) if is_first.all() else Run(hashes[is_first], fingerprints[is_first])


class SeenCache:
    """The places used last, up to `max_bytes`; what is not here stands in the store."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._places: OrderedDict[Place, Seen] = OrderedDict()
        self._nbytes = 0

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

    def add(self, runs: Mapping[Place, Run]) -> None:
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


@dataclass(frozen=True, slots=True)
class Fresh:
    """What of some events is new."""

    rows: NDArray[np.int64]
    """The events that count: of each hash that was not seen the first."""
    run: Run
    """The same events, to be remembered."""
    others: int
    """Events that say something else than the first one of their hash."""


def fresh_of(hashes: Hashes, fingerprints: Fingerprints, seen: Seen) -> Fresh:
    """Of events in the order in which they came."""
    order = np.argsort(hashes)
    ascending = hashes[order]
    starts = np.flatnonzero(np.diff(ascending, prepend=~ascending[:1]))
    firsts = np.minimum.reduceat(order, starts) if starts.size < order.size else order
    unique = ascending[starts]
    is_known, said = seen.find(unique)
    said[~is_known] = fingerprints[firsts[~is_known]]
    others = np.count_nonzero(np.repeat(said, np.diff(starts, append=order.size)) != fingerprints[order])
    rows = firsts[~is_known]
    return Fresh(rows, Run(unique[~is_known], said[~is_known]), int(others))
