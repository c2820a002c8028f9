"""A batch: a burst of complaints on one subject against its own history.

Every ten minutes of event time the distinct customers of the last 0.5, 1, 2, 3, 6 and 24 hours are compared with what
the 28 days before (the newest 24 hours left out) let expect. Where so many are too improbable, the subject fires once
and is then silent for 24 hours.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from closedloop.ticketing.domain.alarm_rate import WINDOWS, BurstSettings
from closedloop.ticketing.domain.baseline import WINDOW_BINS, fit
from closedloop.ticketing.domain.bins import BIN, BINS_PER_DAY, BINS_PER_HALF_HOUR, Bins, bin_of, bin_start
from closedloop.ticketing.domain.everyone import DayFrame, Everyone
from closedloop.ticketing.domain.local_time import local_day

SILENCE = timedelta(hours=24)

# A burst may have begun before the window that showed it, and is taken to last through the silence.
_BEGAN_BEFORE = timedelta(hours=6)
# A subject that has been firing for more of its baseline than this has no burst: it has become busier.
_MOST_LEFT_OUT = 0.25


@dataclass(frozen=True)
class Firing:
    """A burst, as stated: distinct customers in [window_start, window_end), UTC, and the probability of so many."""

    window: timedelta
    window_start: datetime
    window_end: datetime
    expected: float
    observed: int
    p_value: float


def firings(
    subject: Bins,
    everyone: Everyone,
    settings: BurstSettings,
    *,
    after: datetime,
    until: datetime,
    earlier: Iterable[Firing] = (),
) -> list[Firing]:
    """The firings of a subject at all ten-minute steps in (after, until], earliest first.

    `subject` counts the subject's distinct customers per bin (see distinct.py), from `history_start(after, zone)`, or
    from where recording began, up to `until`; ValueError where it covers less. `earlier` are the subject's firings of
    the last 31 days before `after` (older ones do no harm): they begin its silence, and are left out of what is usual.
    Where several windows would fire the one with the least p-value is reported.

    Cutting a span gives the same firings as the whole, if the firings found are handed on as `earlier`.

    Until 3 to 4 days are recorded nothing fires (the hot trigger covers that time). Up to a week a burst may be found
    half a day late, as swings and weekdays are unknown; from 28 days on it is as fast as it can be.
    """
    known = [firing for firing in earlier if firing.window_end <= after]
    found: list[Firing] = []
    # In bins, not in datetimes: adding hours to a zoned datetime goes by its wall clock, wrong where clocks change.
    silent_until = max((_silent_until(firing) for firing in known), default=0)
    for day, first, last in _days(bin_of(after) + 1, bin_of(until), everyone):
        begin = max(first, silent_until)
        if begin > last or (frame := everyone.frame(day)) is None:
            continue
        for firing in _suspicions(subject, frame, settings, np.arange(begin, last + 1), [*known, *found]):
            if bin_of(firing.window_end) >= silent_until:
                found.append(firing)
                silent_until = _silent_until(firing)
    return found


def _silent_until(firing: Firing) -> int:
    return bin_of(firing.window_end) + SILENCE // BIN


def _days(first: int, last: int, everyone: Everyone) -> Iterator[tuple[date, int, int]]:
    """Steps [first, last] per local day. The step at midnight belongs to the day that ends there."""
    while first <= last:
        day = local_day(first - 1, everyone.zone)
        end = min(last, everyone.day_end(day))
        yield day, first, end
        first = end + 1


def _suspicions(
    subject: Bins, frame: DayFrame, settings: BurstSettings, steps: NDArray[np.int64], earlier: list[Firing]
) -> Iterator[Firing]:
    """What would fire at the steps of one day if there were no silence."""
    counts = subject.between(frame.baseline_first, int(steps[-1]))
    look_back = int(steps[0]) - BINS_PER_DAY
    upto = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts[look_back - frame.baseline_first :])))
    end = steps - look_back
    observed = upto[end] - upto[end - WINDOW_BINS[:, np.newaxis]]
    enough = observed >= settings.least_customers
    if not enough.any():
        return  # most days of most subjects: no need to know what was expected
    # A firing of this day is no part of its baseline yet: so the day's fit is the same wherever the span is cut.
    usual = usual_half_hours(frame, earlier)
    baseline = fit(counts[: frame.baseline_stop - frame.baseline_first], frame, usual)
    mean, size = baseline.expect(frame, steps)
    enough &= observed >= settings.least_ratio * mean
    p_values = np.ones(observed.shape)
    # P(count ≥ k) of a negative binomial count is a regularised incomplete beta function.
    p_values[enough] = betainc(observed[enough], size[enough], mean[enough] / (mean[enough] + size[enough]))
    best = p_values.argmin(axis=0)  # the shortest window of equal ones
    for at in np.flatnonzero(p_values.min(axis=0) <= settings.p_limit(baseline.per_day)).tolist():
        place = int(best[at])
        window_end = bin_start(int(steps[at]))
        yield Firing(
            window=WINDOWS[place],
            window_start=window_end - WINDOWS[place],
            window_end=window_end,
            expected=float(mean[place, at]),
            observed=int(observed[place, at]),
            p_value=float(p_values[place, at]),
        )


def usual_half_hours(frame: DayFrame, earlier: Iterable[Firing]) -> NDArray[np.bool_]:
    """Which half hours of the baseline are usual: those around earlier firings are not, or one burst would make the
    subject deaf for the next 28 days."""
    usual = np.ones(len(frame.baseline_hours), dtype=np.bool_)
    for firing in earlier:
        end = bin_of(firing.window_end)
        begin = min(bin_of(firing.window_start), end - _BEGAN_BEFORE // BIN) - frame.baseline_first
        stop = end + SILENCE // BIN - frame.baseline_first
        if stop > 0:
            usual[max(begin, 0) // BINS_PER_HALF_HOUR : -(-stop // BINS_PER_HALF_HOUR)] = False
    return usual if usual.mean() >= 1 - _MOST_LEFT_OUT else np.ones_like(usual)
