"""How bad a series is at each minute of event time, by its fixed thresholds.

At a minute's beginning `end` the value covers [end - window, end). The window's content changes only where a bucket enters or
leaves it, so only those minutes are looked at: 90 days cost what their buckets cost. Sums are taken in whole millionths: what
is stated does not depend on where the span of minutes was cut.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.thresholds import Rule, Threshold

Counts: TypeAlias = npt.NDArray[np.int64]
Quantities: TypeAlias = npt.NDArray[np.float64]
Ranks: TypeAlias = npt.NDArray[np.int8]
UNKNOWN: Final = -1
FINE: Final = 0
WARNING: Final = 1
CRITICAL: Final = 2
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
class Judgement:
    """How bad a series is from each minute of `ends` (ascending) on, until the next.

    `enters`: the worst level that may begin there; `holds`: the worst that may go on there, at least as bad (hysteresis);
    UNKNOWN in both where there is not enough data. `limit`: what the value was compared with, per minute, where that is not the
    threshold.
    """

    ends: Counts
    enters: Ranks
    holds: Ranks
    value: Quantities
    numerator: Quantities
    denominator: Quantities
    sample: Quantities
    limit: Quantities | None = None
    rules: tuple[Rule | None, ...] = ()


def judge(indicator: EventIndicator, threshold: Threshold, sums: MinuteSums, after: int, upto: int) -> Judgement:
    """The minutes in (after, upto], of which there is one at least. `sums` must hold all buckets of [after + 1 - window, upto)."""
    ends = _minutes_of_change(sums.minutes, threshold.window_minutes, after, upto)
    until = np.searchsorted(sums.minutes, ends)
    since = np.searchsorted(sums.minutes, ends - threshold.window_minutes)
    numerator = _window_sums(sums.numerator, since, until)
    sample = _window_sums(sums.sample, since, until)
    denominator = sample if sums.denominator is None else _window_sums(sums.denominator, since, until)
    value = _values(indicator, numerator, denominator)
    is_known = (sample >= threshold.minimum_sample) & np.isfinite(value)
    return Judgement(
        ends,
        _ranks(indicator, threshold, value, is_known, 0.0),
        _ranks(indicator, threshold, value, is_known, threshold.hysteresis),
        value,
        numerator,
        denominator,
        sample,
    )


def _ranks(
    indicator: EventIndicator, threshold: Threshold, value: Quantities, is_known: npt.NDArray[np.bool_], nearer: float
) -> Ranks:
    """The worst level whose threshold, moved `nearer` to the good side, the value is worse than."""
    ranks = np.full(value.shape, FINE, dtype=np.int8)
    for rank, limit in ((WARNING, threshold.warning), (CRITICAL, threshold.critical)):
        if limit is not None:
            ranks[value > limit - nearer if indicator.better == "lower" else value < limit + nearer] = rank
    ranks[~is_known] = UNKNOWN
    return ranks


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
