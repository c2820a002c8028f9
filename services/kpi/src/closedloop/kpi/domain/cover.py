"""Windows are covered by whole days and, at their edges, hours or minutes: so a year takes as few rows as a day."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Minutes = NDArray[np.int64]
"""Minutes since 1970 in UTC."""
_FIRST_YEAR: Final = 1999
_LAST_YEAR: Final = 2100
"""Days of other years are covered by hours. Events before 2000 are refused."""
_HOUR: Final = 60


class Calendar:
    """The operator's days, and what stands for an hour. A day begins where the clock first shows midnight, or jumps over it."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self.name: Final = zone.key
        self.hour: Final = _hour_of(zone)
        """60 minutes; or the 30 or 15 into which all days of a zone that is so far from UTC can be cut."""

    def hour_of(self, minutes: Minutes) -> Minutes:
        """The beginning of the hour that holds each minute."""
        return minutes // self.hour * self.hour

    def day_of(self, minutes: Minutes) -> Minutes:
        """The beginning of the local day that holds each minute."""
        if not minutes.size:
            return minutes
        midnights = self.midnights(int(minutes.min()), int(minutes.max()))
        return midnights[np.searchsorted(midnights, minutes, side="right") - 1]

    def midnights(self, first: int, last: int) -> Minutes:
        """Where local days begin, ascending: from the last that is not after `first` to the first after `last`, at least."""
        years = range(max(_year(first) - 1, _FIRST_YEAR), min(_year(last) + 1, _LAST_YEAR) + 1)
        return np.concatenate([_midnights(self._zone, year) for year in years]) if years else np.array([], dtype=np.int64)


class Cover(NamedTuple):
    """Disjoint ascending ranges [from, to), one a row, whose union is the windows'. No edge of a window lies inside one, so what
    is in a range may be added up; of whole hours and days, as the operator's clock shows them, but for the minutes."""

    days: Minutes
    hours: Minutes
    minutes: Minutes


def cover(windows: Sequence[tuple[int, int]], calendar: Calendar, *, by_hours: bool = False) -> Cover:
    """The windows by days where whole days fit between their edges; what is left of one by hours where it is of whole hours, and
    else by minutes: some of its day's are read in any case, and sums of whole numbers over many cost no more than over few.
    `by_hours`: there, too, by hours where they fit, for what has to be merged one by one."""
    between = _between(windows)
    if not len(between):
        return Cover(between, between, between)
    left, days = between, between[:0]
    midnights = calendar.midnights(int(between.min()), int(between.max()))
    if midnights.size >= 2:
        bounded = midnights.size - 1
        left, days = _split(
            between,
            lambda at: midnights[np.minimum(np.searchsorted(midnights, at, side="left"), bounded)],
            lambda at: midnights[np.maximum(np.searchsorted(midnights, at, side="right") - 1, 0)],
        )
    hour = calendar.hour
    if by_hours:
        minutes, hours = _split(left, lambda at: -(-at // hour) * hour, lambda at: at // hour * hour)
    else:
        is_whole = np.all(left % hour == 0, axis=1)
        minutes, hours = left[~is_whole], left[is_whole]
    return Cover(_ascending(days), _ascending(hours), _ascending(minutes))


def by_minutes(windows: Sequence[tuple[int, int]]) -> Cover:
    """The windows by nothing but minutes."""
    between = _between(windows)
    return Cover(between[:0], between[:0], between)


def _between(windows: Sequence[tuple[int, int]]) -> Minutes:
    """From each edge of a window to the next, where a window is."""
    bounds = np.array(windows, dtype=np.int64).reshape(-1, 2)
    bounds = bounds[bounds[:, 0] < bounds[:, 1]]
    edges = np.unique(bounds)
    begun = np.bincount(np.searchsorted(edges, bounds[:, 0]), minlength=edges.size)
    ended = np.bincount(np.searchsorted(edges, bounds[:, 1]), minlength=edges.size)
    is_inside = np.cumsum(begun - ended)[:-1] > 0
    return np.stack([edges[:-1][is_inside], edges[1:][is_inside]], axis=1)


def _split(ranges: Minutes, up: Callable[[Minutes], Minutes], down: Callable[[Minutes], Minutes]) -> tuple[Minutes, Minutes]:
    """(what is left over at the edges, the whole ones inside)."""
    start, end = ranges.T
    inner = np.stack([up(start), down(end)], axis=1)
    # midnights that were not looked up are beyond the range
    fits = (start <= inner[:, 0]) & (inner[:, 0] < inner[:, 1]) & (inner[:, 1] <= end)
    inner = inner[fits]
    before = np.stack([start[fits], inner[:, 0]], axis=1)
    after = np.stack([inner[:, 1], end[fits]], axis=1)
    return np.concatenate([ranges[~fits], before, after]), inner


def _ascending(ranges: Minutes) -> Minutes:
    ranges = ranges[ranges[:, 0] < ranges[:, 1]]
    return ranges[np.argsort(ranges[:, 0])]


def _year(minute: int) -> int:
    """The year, near enough: a year before and after are looked up too."""
    return 1970 + minute // (365 * 24 * 60 + 6 * 60)


@lru_cache(maxsize=512)
def _midnights(zone: ZoneInfo, year: int) -> Minutes:
    first = date(year, 1, 1)
    days = [first + timedelta(days=n) for n in range((date(year + 1, 1, 1) - first).days)]
    seconds = [int(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC).timestamp()) for day in days]
    return np.array(seconds, dtype=np.int64) // 60


@lru_cache
def _hour_of(zone: ZoneInfo) -> int:
    years = range(_FIRST_YEAR, _LAST_YEAR + 1)
    # a zone's rules repeat: of the years to come three tell all
    looked_at = [year for year in years if year <= 2040 or year > _LAST_YEAR - 3]
    return math.gcd(_HOUR, *np.unique(np.concatenate([_midnights(zone, year) for year in looked_at]) % _HOUR).tolist())
