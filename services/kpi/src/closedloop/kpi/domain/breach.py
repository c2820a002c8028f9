"""When a series breaches its threshold, and when that ends: evaluated for each minute of event time, once.

At a minute's beginning `end` the value covers [end - window, end). The series is breached while that value is worse than the
threshold's `critical` and stands on at least `minimum_sample` events. A breach ends when the value is back, and also when too few
events are left to say anything ("no data"): nobody should work on a breach of which nothing is heard any more; if it comes back
with data it is stated anew.

The window's content changes only where a bucket enters or leaves it, so only those minutes are looked at: 90 days cost what their
buckets cost. Sums are taken in whole millionths: what is stated does not depend on where the span of minutes was cut.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.thresholds import Threshold

Reason = Literal["critical", "back", "no data"]
Counts: TypeAlias = npt.NDArray[np.int64]
Quantities: TypeAlias = npt.NDArray[np.float64]
_FINENESS: Final = 1_000_000
_LARGEST: Final = 9e12
"""Largest sum of a minute that fits into 64 bits of millionths."""


@dataclass(frozen=True, slots=True)
class MinuteSums:
    """The buckets of one series: ascending minutes since 1970 with their sums. `denominator` is None for a count or a sum."""

    minutes: Counts
    numerator: Quantities
    denominator: Quantities | None
    sample: Quantities


@dataclass(frozen=True, slots=True)
class Transition:
    """From minute `end` on the series is breached, or no longer is. `value` is None where there is not enough data for one."""

    end: int
    is_breach: bool
    reason: Reason
    value: float | None
    numerator: float
    denominator: float
    sample: int


def transitions(
    indicator: EventIndicator, threshold: Threshold, sums: MinuteSums, after: int, upto: int, breached: bool
) -> list[Transition]:
    """What changes at the minutes in (after, upto]; `breached` is the state at `after`.

    `sums` must hold all buckets of [after + 1 - window, upto).
    """
    ends = _minutes_of_change(sums.minutes, threshold.window_minutes, after, upto)
    if not ends.size:
        return []
    until = np.searchsorted(sums.minutes, ends)
    since = np.searchsorted(sums.minutes, ends - threshold.window_minutes)
    numerator = _window_sums(sums.numerator, since, until)
    sample = _window_sums(sums.sample, since, until)
    denominator = sample if sums.denominator is None else _window_sums(sums.denominator, since, until)
    value = _values(indicator, numerator, denominator)
    is_known = (sample >= threshold.minimum_sample) & np.isfinite(value)
    is_worse = value > threshold.critical if indicator.better == "lower" else value < threshold.critical
    state = is_known & is_worse
    changes = np.flatnonzero(state != np.concatenate(([breached], state[:-1])))
    return [
        Transition(
            end=int(ends[at]),
            is_breach=bool(state[at]),
            reason="critical" if state[at] else "back" if is_known[at] else "no data",
            value=float(value[at]) if is_known[at] else None,
            numerator=float(numerator[at]),
            denominator=float(denominator[at]),
            sample=round(float(sample[at])),
        )
        for at in changes
    ]


def _minutes_of_change(minutes: Counts, window: int, after: int, upto: int) -> Counts:
    """The span's first minute (late events may have changed what is before it) and those where a bucket enters or leaves."""
    ends = np.unique(np.concatenate((np.array([after + 1], dtype=np.int64), minutes + 1, minutes + 1 + window)))
    return ends[(ends > after) & (ends <= upto)]


def _window_sums(quantities: Quantities, since: Counts, until: Counts) -> Quantities:
    millionths = np.rint(np.clip(quantities, -_LARGEST, _LARGEST) * _FINENESS).astype(np.int64)
    totals = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(millionths)))
    # running totals may wrap around; their differences are right all the same
    return (totals[until] - totals[since]) / _FINENESS


def _values(indicator: EventIndicator, numerator: Quantities, denominator: Quantities) -> Quantities:
    """`Indicator.value` in columns; no number where the denominator is 0."""
    if indicator.denominator is None:
        return numerator
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.nan, numerator * indicator.factor_of_unit / denominator)
