"""Counts on the grid of ten minutes of event time."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
from numpy.typing import NDArray

BIN = timedelta(minutes=10)
BIN_SECONDS = 600
BINS_PER_HALF_HOUR = 3
BINS_PER_HOUR = 6
BINS_PER_DAY = 144

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bin_of(time: datetime) -> int:
    """The number of the bin that holds `time`: whole ten minutes since 1970 UTC. `time` needs a zone."""
    if time.tzinfo is None:
        raise ValueError(f"time {time.isoformat()} has no zone: give it one, e.g. datetime(…, tzinfo=UTC)")
    return (time - _EPOCH) // BIN


def next_bin(time: datetime) -> int:
    """The number of the first bin that begins at `time` or after it."""
    return -((_EPOCH - time) // BIN)


def bin_start(number: int) -> datetime:
    """When bin `number` begins, in UTC."""
    return _EPOCH + number * BIN


@dataclass(frozen=True)
class Bins:
    """Events counted per bin, without gaps: `counts[i]` stands for bin `first + i`. Quiet bins are zeros."""

    first: int
    counts: NDArray[np.int64]

    @classmethod
    def from_counts(cls, counts: Iterable[tuple[int, int]], first: int, stop: int) -> Self:
        """From pairs (bin number, count) in any order, as a database gives them; pairs outside [first, stop) are
        left out, pairs of one bin are added up."""
        dense = np.zeros(max(stop - first, 0), dtype=np.int64)
        for number, count in counts:
            if first <= number < stop:
                dense[number - first] += count
        return cls(first, dense)

    @classmethod
    def from_times(cls, times: Iterable[datetime], since: datetime, until: datetime) -> Self:
        """One event per time, over all bins from the one that holds `since` up to the one that holds `until`."""
        return cls.from_counts(((bin_of(time), 1) for time in times), bin_of(since), bin_of(until))

    @property
    def stop(self) -> int:
        """The number of the first bin that is not covered any more."""
        return self.first + len(self.counts)

    def between(self, first: int, stop: int) -> NDArray[np.int64]:
        """The counts of bins [first, stop). ValueError where they are not all covered: a missing bin is not zero."""
        if first < self.first or stop > self.stop:
            raise ValueError(
                f"bins cover {bin_start(self.first)} to {bin_start(self.stop)}, needed are {bin_start(first)} to "
                f"{bin_start(stop)}: load the counts from history_start() on"
            )
        return self.counts[first - self.first : stop - self.first]
