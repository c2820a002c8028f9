"""Statements over any span of event time, from what a database holds: bins with complaints only, gaps of years included."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from closedloop.ticketing.domain.alarm_rate import BurstSettings
from closedloop.ticketing.domain.bins import BINS_PER_DAY, Bins, bin_of, bin_start
from closedloop.ticketing.domain.burst import Firing, firings
from closedloop.ticketing.domain.everyone import Everyone, history_start

Ints = NDArray[np.int64]

UNRECORDED = timedelta(days=7)
"""Where nobody complained about anything for so long, nothing was recorded (an imported year, then years of nothing): what
comes after is judged by its own history, not by zeros."""
_NONE: Ints = np.empty(0, dtype=np.int64)
_UNRECORDED_BINS = UNRECORDED // timedelta(days=1) * BINS_PER_DAY


@dataclass(frozen=True)
class Sparse:
    """Counts of the bins that have any, by ascending number."""

    numbers: Ints
    counts: Ints

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> "Sparse":
        """From pairs (bin number, count), each bin once, in any order."""
        rows = np.array(sorted((number, count) for number, count in pairs if count > 0), dtype=np.int64).reshape(-1, 2)
        return cls(rows[:, 0], rows[:, 1])

    def dense(self, first: int, stop: int) -> Bins:
        """All bins of [first, stop)."""
        counts = np.zeros(max(stop - first, 0), dtype=np.int64)
        inside = slice(*np.searchsorted(self.numbers, (first, stop)))
        counts[self.numbers[inside] - first] = self.counts[inside]
        return Bins(first, counts)


class Record:
    """All subjects' complaints together up to bin `stop`, cut into eras in which complaints were recorded without a long gap."""

    def __init__(self, everyone: Sparse, zone: ZoneInfo, stop: int) -> None:
        self.zone = zone
        self._everyone = everyone
        cuts = np.flatnonzero(np.diff(everyone.numbers) > _UNRECORDED_BINS) + 1
        self._starts = everyone.numbers[np.concatenate((np.zeros(1, dtype=np.int64), cuts))] if len(everyone.numbers) else _NONE
        self._stop = stop
        self._eras: dict[int, Everyone] = {}

    def era(self, number: int) -> tuple[int, Everyone]:
        """The era of bin `number`: its first bin, and everyone's complaints in it. A bin before everything that was loaded (a
        complaint that came while everyone's were being read) begins an era of its own."""
        at = int(np.searchsorted(self._starts, number, side="right")) - 1
        start = int(self._starts[at]) if at >= 0 else number
        if start not in self._eras:
            self._eras[start] = Everyone(self._everyone.dense(start, self._stop), self.zone, bin_start(start))
        return start, self._eras[start]


def last_step(last_complaint: datetime) -> int:
    """The last step at which a complaint can make its subject fire: no window is longer than 24 h."""
    return bin_of(last_complaint) + BINS_PER_DAY


def load_from(after: datetime, zone: ZoneInfo) -> datetime:
    """From when on bins are needed to evaluate steps later than `after` and to see where its era begins."""
    return history_start(after, zone) - UNRECORDED


def burst_firings(
    subject: Sparse,
    record: Record,
    settings: BurstSettings,
    *,
    after: datetime,
    until: datetime,
    earlier: Sequence[Firing] = (),
) -> list[Firing]:
    """The subject's firings at all steps in (after, until], earliest first; see `burst.firings`, also for `earlier`.

    Only steps within 24 h after a complaint are looked at, in each of them as `burst.firings` does: so a span of years
    costs what was in it.
    """
    found: list[Firing] = []
    for first, last in _active_spans(subject.numbers, bin_of(after) + 1, bin_of(until)):
        start, everyone = record.era(first - 1)
        begins = bin_start(first - 1)
        bins = subject.dense(max(start, bin_of(history_start(begins, record.zone))), last)
        found += firings(
            bins,
            everyone,
            settings,
            after=begins,
            until=bin_start(last),
            earlier=[*earlier, *found],
        )
    return found


def _active_spans(numbers: Ints, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The steps of [first, last] that are within 24 h after a complaint, as spans."""
    near = numbers[(numbers + BINS_PER_DAY >= first) & (numbers < last)]
    if not len(near):
        return
    cuts = np.flatnonzero(np.diff(near) > BINS_PER_DAY) + 1
    for group in np.split(near, cuts):
        yield max(first, int(group[0]) + 1), min(last, int(group[-1]) + BINS_PER_DAY)
