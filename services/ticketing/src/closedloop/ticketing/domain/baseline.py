"""What is expected of one subject on one day, and how far its counts stray from that by themselves.

Expected is level × weekday × hour, each estimated from the baseline and shrunk to the rhythm of the other subjects as
far as the subject's own complaints are few or swing. A count in a window is then negative binomial: complaints are
Poisson, their rate is uncertain, by what the baseline could not tell and by what was seen to swing.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from closedloop.ticketing.domain.alarm_rate import WINDOWS
from closedloop.ticketing.domain.bins import BIN, BINS_PER_DAY, BINS_PER_HALF_HOUR, BINS_PER_HOUR
from closedloop.ticketing.domain.everyone import DayFrame, by_hour_of_week, per_half_hour

Floats = NDArray[np.float64]

WINDOW_BINS = np.array([window // BIN for window in WINDOWS], dtype=np.int64)
_WINDOW_HOURS = WINDOW_BINS / BINS_PER_HOUR
_HALF_HOURS = WINDOW_BINS // BINS_PER_HALF_HOUR
_HOUR, _DAY = 1, len(WINDOWS) - 1  # places in WINDOWS

# A gamma prior's weight in events. An hour or a weekday of one subject differs from that of all by about 22 % (1/√20);
# all subjects together are taken to be flat until they show otherwise; an empty baseline is half an event.
_LIKE_OTHERS = 20.0
_OTHERS_FLAT = 10.0
_EMPTY = 0.5


@dataclass(frozen=True)
class Baseline:
    """One subject's fit for one local day. Precisions are in events: 1 / relative variance of the estimate."""

    per_day: float
    """Complaints a day."""
    per_bin: Floats
    """Expected in one bin, per hour of the week (168)."""
    level_precision: float
    hour_precision: Floats
    weekday_precision: Floats
    swing: Floats
    """Per window: relative variance of its sums beyond Poisson's, made larger by one standard error."""

    def expect(self, frame: DayFrame, steps: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Mean and size of the negative binomial counts, both [window, step]. A step is the number of the bin that
        begins where the windows end; all are in (frame.first, frame.stop]."""
        end = steps - (frame.first - BINS_PER_DAY)
        begin = end - WINDOW_BINS[:, np.newaxis]

        def over_windows(per_bin: Floats) -> Floats:
            # Summed from the same bin whichever steps are asked for: so a step's result is the same to the last bit.
            upto = np.concatenate((np.zeros(1), np.cumsum(per_bin)))
            sums: Floats = upto[end] - upto[begin]
            return sums

        mean = over_windows(self.per_bin[frame.hours])
        bins = WINDOW_BINS[:, np.newaxis]
        hour = over_windows(self.hour_precision[frame.hours % 24]) / bins
        hour *= np.maximum(_WINDOW_HOURS, 1.0)[:, np.newaxis]  # hours are estimated apart, their errors average out
        weekday = over_windows(self.weekday_precision[frame.hours // 24]) / bins
        variance = 1 / self.level_precision + 1 / hour + 1 / weekday + self.swing[:, np.newaxis]
        return mean, 1 / variance


def fit(baseline: NDArray[np.int64], frame: DayFrame, usual: NDArray[np.bool_]) -> Baseline:
    """From the subject's counts per bin over the frame's baseline, of which only the `usual` half hours are taken."""
    half_hours = per_half_hour(baseline)
    others = np.maximum(frame.complaints - by_hour_of_week(frame.baseline_hours, half_hours), 0.0)
    others_hour, hour_weight = _rhythm_of_others(others.sum(axis=0), frame.exposure.sum(axis=0))
    others_weekday, weekday_weight = _rhythm_of_others(others.sum(axis=1), frame.exposure.sum(axis=1))
    own = by_hour_of_week(frame.baseline_hours, half_hours * usual)
    own_hour, own_weekday, total = own.sum(axis=0), own.sum(axis=1), float(own.sum())
    days = float(usual.sum()) / _HALF_HOURS[_DAY]
    sums = [_Sums.of(half_hours, usual, size) for size in _HALF_HOURS.tolist()]

    usual_exposure = by_hour_of_week(frame.baseline_hours, usual)
    exposure = usual_exposure * np.outer(others_weekday, others_hour)
    hour, weekday = np.ones(24), np.ones(7)
    hour_excess, day_excess = np.ones(24), 1.0
    # Swings decide how far to trust the subject's own rhythm, and are themselves seen against that rhythm: twice will do.
    for _ in range(2):
        level = (total + _EMPTY) / (weekday @ exposure @ hour)
        like_others_hour = level * (weekday @ exposure)
        hour = (own_hour + hour_weight * hour_excess) / (like_others_hour + hour_weight * hour_excess)
        like_others_weekday = level * (exposure @ hour)
        weekday = (own_weekday + weekday_weight * day_excess) / (like_others_weekday + weekday_weight * day_excess)
        rhythm = np.outer(others_weekday * weekday, others_hour * hour)
        per_half_hour_of_week = (total + _EMPTY) / float((usual_exposure * rhythm).sum()) * rhythm.ravel()
        hour_told, weekday_told = like_others_hour / hour_excess, like_others_weekday / day_excess
        fitted_hours = float((hour_told / (hour_told + hour_weight)).sum())
        fitted_weekdays = float((weekday_told / (weekday_told + weekday_weight)).sum())
        swing, error = _swing(sums, per_half_hour_of_week[frame.baseline_hours], fitted_hours, fitted_weekdays)
        # Counts that swing tell less: variance over mean of one hour's and of one day's count.
        hour_excess = 1 + swing[_HOUR] * like_others_hour / days
        day_excess = 1 + float(swing[_DAY]) * total / days

    return Baseline(
        per_day=total / days,
        per_bin=per_half_hour_of_week / BINS_PER_HALF_HOUR,
        level_precision=(total + _EMPTY) / day_excess,
        hour_precision=hour_weight + like_others_hour / hour_excess,
        weekday_precision=weekday_weight + like_others_weekday / day_excess,
        swing=swing + error,
    )


def _rhythm_of_others(complaints: Floats, exposure: Floats) -> tuple[Floats, Floats]:
    """Factors of the other subjects' hours or weekdays around 1, and their weight against the subject's own, in events."""
    even = complaints.sum() * exposure / exposure.sum()
    factors = (complaints + _OTHERS_FLAT) / (even + _OTHERS_FLAT)
    weight = 1 / (1 / _LIKE_OTHERS + 1 / (complaints + _OTHERS_FLAT))
    return factors, weight


@dataclass(frozen=True)
class _Sums:
    """Counts over windows of `size` half hours, of the windows that are usual throughout. They begin on the hour and
    do not overlap: swings by the hour are then seen in full, and sums are about independent."""

    size: int
    usual: NDArray[np.bool_]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, half_hours: NDArray[np.int64], usual: NDArray[np.bool_], size: int) -> Self:
        throughout: NDArray[np.bool_] = np.all(usual.reshape(-1, size), axis=1)
        return cls(size, throughout, half_hours.reshape(-1, size).sum(axis=1)[throughout])


def _swing(windows: list[_Sums], per_half_hour: Floats, fitted_hours: float, fitted_weekdays: float) -> tuple[Floats, Floats]:
    """Per window: the relative variance of its sums beyond Poisson's, and the standard error of that."""
    swing, mean, seen = np.zeros(len(WINDOWS)), np.zeros(len(WINDOWS)), np.zeros(len(WINDOWS))
    for place, window in enumerate(windows):
        expected = per_half_hour.reshape(-1, window.size).sum(axis=1)[window.usual]
        strays = window.counts - expected
        seen[place] = len(expected)
        # What was fitted to these counts they cannot stray from; longer windows see fewer of the 24 hours apart.
        fitted = 1 + fitted_weekdays + fitted_hours * min(1.0, 1 / _WINDOW_HOURS[place])
        free = max(seen[place] - fitted, seen[place] / 4)
        squares = float((strays * strays).sum()) * seen[place] / free
        total = float(expected.sum())
        mean[place] = total / seen[place]
        swing[place] = max(0.0, (squares - total) / float((expected * expected).sum()))
    of_days = swing[_DAY] + 1 / mean[_DAY]
    beyond_days = np.maximum(swing - swing[_DAY], 0.0) + 1 / mean
    # Whole-day swings show in every window, but only as often as there are days.
    error = np.sqrt(2 / (seen - 1) * beyond_days**2 + 2 / (seen[_DAY] - 1) * of_days**2)
    return swing, error
