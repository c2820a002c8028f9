"""Hours, weekdays and days of the operator's time zone on the grid of ten minutes."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from closedloop.ticketing.domain.bins import BIN_SECONDS, BINS_PER_DAY, bin_start

HOURS_OF_WEEK = 168


def local_day(number: int, zone: ZoneInfo) -> date:
    """The local day that bin `number` belongs to: days are cut at the first local midnight, so they never overlap,
    not even where clocks are set back at midnight."""
    day = bin_start(number).astimezone(zone).date()
    following = day + timedelta(days=1)
    return following if number >= first_bin(following, zone) else day


def first_bin(day: date, zone: ZoneInfo) -> int:
    """The first bin of a local day (of 138 to 150 bins, where clocks change)."""
    midnight = datetime.combine(day, time(), tzinfo=zone)
    return -(-int(midnight.timestamp()) // BIN_SECONDS)


def hours_of_week(first: int, stop: int, zone: ZoneInfo) -> NDArray[np.int64]:
    """For each bin of [first, stop) its local hour of the week: 24 × weekday + hour, Monday is 0."""
    first_day, last_day = first // BINS_PER_DAY, (stop - 1) // BINS_PER_DAY
    days = [_hours_of_week_in(day, zone) for day in range(first_day, last_day + 1)]
    start = first - first_day * BINS_PER_DAY
    return np.concatenate(days)[start : start + stop - first] if days else np.empty(0, dtype=np.int64)


@lru_cache(maxsize=1024)
def _hours_of_week_in(utc_day: int, zone: ZoneInfo) -> NDArray[np.int64]:
    seconds = (utc_day * BINS_PER_DAY + np.arange(BINS_PER_DAY + 1, dtype=np.int64)) * BIN_SECONDS
    begin, end = _utc_offset(int(seconds[0]), zone), _utc_offset(int(seconds[-1]), zone)
    # Clocks change on few days of the year: only then every bin is looked up.
    offsets = begin if begin == end else np.array([_utc_offset(int(s), zone) for s in seconds[:-1]])
    local_hours = (seconds[:-1] + offsets) // 3600
    monday_based = local_hours + 3 * 24  # 1970-01-01 was a Thursday
    return monday_based % HOURS_OF_WEEK


def _utc_offset(epoch_seconds: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(epoch_seconds, UTC).astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0
