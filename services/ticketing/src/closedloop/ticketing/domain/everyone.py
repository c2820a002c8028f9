"""The rhythm of all subjects together, which a subject with few complaints borrows."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from closedloop.ticketing.domain.bins import BINS_PER_DAY, BINS_PER_HALF_HOUR, Bins, bin_of, bin_start, next_bin
from closedloop.ticketing.domain.local_time import HOURS_OF_WEEK, first_bin, hours_of_week, local_day

BASELINE_DAYS = 28
# The newest 24 hours are left out of the baseline: a burst that is starting must not raise what is expected.
LEFT_OUT = BINS_PER_DAY
# Below two days there is no second day to compare the first with, so no estimate of how much days swing.
LEAST_BASELINE_DAYS = 2


@dataclass(frozen=True)
class DayFrame:
    """What all subjects share on one local day: its bins, its baseline's bins, and everyone's complaints there."""

    first: int
    """The day's first bin."""
    stop: int
    baseline_first: int
    baseline_stop: int
    baseline_hours: NDArray[np.int64]
    """Local hour of the week per half hour of the baseline."""
    exposure: NDArray[np.float64]
    """Half hours of the baseline, [weekday, hour]."""
    complaints: NDArray[np.float64]
    """Everyone's complaints in the baseline, [weekday, hour]."""
    hours: NDArray[np.int64]
    """Local hour of the week per bin, from 24 h before the day's first bin to its last."""


class Everyone:
    """All subjects' complaints (the sum of their bins), the zone of hours and weekdays, and since when complaints have
    been recorded at all. Baselines are taken once a local day, as of its midnight: what a step decides then depends
    on event time alone, not on where an evaluation happens to begin."""

    def __init__(self, bins: Bins, zone: ZoneInfo, recorded_since: datetime) -> None:
        self.zone = zone
        self._bins = bins
        self._recorded = next_bin(recorded_since)
        self._frames: dict[date, DayFrame | None] = {}

    def day_end(self, day: date) -> int:
        """The first bin after a local day."""
        return first_bin(day + timedelta(days=1), self.zone)

    def frame(self, day: date) -> DayFrame | None:
        """None where too little was recorded before the day."""
        if day not in self._frames:
            self._frames[day] = self._make_frame(day)
        return self._frames[day]

    def _make_frame(self, day: date) -> DayFrame | None:
        first, stop = first_bin(day, self.zone), first_bin(day + timedelta(days=1), self.zone)
        baseline_stop = first - LEFT_OUT
        days = min(BASELINE_DAYS, (baseline_stop - self._recorded) // BINS_PER_DAY)
        if days < LEAST_BASELINE_DAYS:
            return None
        baseline_first = baseline_stop - days * BINS_PER_DAY
        half_hours = hours_of_week(baseline_first, baseline_stop, self.zone)[::BINS_PER_HALF_HOUR]
        counts = per_half_hour(self._bins.between(baseline_first, baseline_stop))
        return DayFrame(
            first=first,
            stop=stop,
            baseline_first=baseline_first,
            baseline_stop=baseline_stop,
            baseline_hours=half_hours,
            exposure=by_hour_of_week(half_hours),
            complaints=by_hour_of_week(half_hours, counts),
            hours=hours_of_week(first - BINS_PER_DAY, stop, self.zone),
        )


def history_start(after: datetime, zone: ZoneInfo) -> datetime:
    """From when on counts are needed (as far as they were recorded) to evaluate steps later than `after`."""
    day = local_day(bin_of(after), zone)
    return bin_start(first_bin(day, zone) - LEFT_OUT - BASELINE_DAYS * BINS_PER_DAY)


def per_half_hour(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts per bin (a whole number of half hours) as counts per half hour: all windows are made of these."""
    sums: NDArray[np.int64] = counts.reshape(-1, BINS_PER_HALF_HOUR).sum(axis=1)
    return sums


def by_hour_of_week(
    half_hours: NDArray[np.int64], weights: NDArray[np.int64] | NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Half hours (or their counts) summed by local [weekday, hour]."""
    sums = np.bincount(half_hours, weights, minlength=HOURS_OF_WEEK)
    return sums.astype(np.float64).reshape(7, 24)
