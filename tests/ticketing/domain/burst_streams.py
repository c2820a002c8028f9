"""Simulated streams of complaints with a rhythm of day and week, for the tests and the benchmark of bursts.

Kinds: `poisson`; `hourly`, where each hour's rate swings (gamma, variance 0.2); `daily`, where each whole day's rate
swings (variance 0.1). The real complaints of 2015 (17 a day) swing by 0.05 and 0.03: these are harder.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from closedloop.ticketing.domain.alarm_rate import BurstSettings
from closedloop.ticketing.domain.bins import BINS_PER_DAY, Bins, bin_of, bin_start
from closedloop.ticketing.domain.burst import Firing, firings
from closedloop.ticketing.domain.everyone import Everyone

KINDS = ("poisson", "hourly", "daily")
ZONE = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 3, 2, tzinfo=ZONE)  # a Monday
HISTORY_DAYS = 29
MONTH_BEGINS = START + timedelta(days=HISTORY_DAYS)
MONTH_DAYS = 30

_HOURS = np.array([6, 4, 3, 3, 4, 7, 12, 20, 32, 42, 45, 40, 35, 35, 38, 38, 38, 35, 32, 35, 38, 32, 22, 12], dtype=np.float64)
_WEEKDAYS = np.array([1.15, 1.1, 1.05, 1.05, 1.1, 0.85, 0.7])


@dataclass(frozen=True)
class Streams:
    """How streams are made. `own_rhythm`: each subject's hours and weekdays stray from everyone's by so much."""

    kind: str
    per_day: float
    days: int = HISTORY_DAYS + MONTH_DAYS
    hourly: float = 0.2
    daily: float = 0.1
    own_rhythm: float = 0.0

    def rates(self, rng: np.random.Generator) -> np.ndarray:
        """Expected complaints per bin of one subject."""
        hours = _HOURS * np.exp(rng.normal(0, self.own_rhythm, 24))
        weekdays = _WEEKDAYS * np.exp(rng.normal(0, self.own_rhythm, 7))
        week = np.outer(weekdays / weekdays.mean(), hours / hours.mean()).repeat(6, axis=1).ravel()
        rates = np.resize(week, self.days * BINS_PER_DAY) * self.per_day / BINS_PER_DAY
        if self.kind == "hourly":
            rates = rates * rng.gamma(1 / self.hourly, self.hourly, self.days * 24).repeat(6)
        if self.kind == "daily":
            rates = rates * rng.gamma(1 / self.daily, self.daily, self.days).repeat(BINS_PER_DAY)
        return rates


def bins_of(counts: np.ndarray) -> Bins:
    return Bins(bin_of(START), counts.astype(np.int64))


def everyone_of(counts: np.ndarray) -> Everyone:
    return Everyone(bins_of(counts), ZONE, START)


def day_start(day: int) -> datetime:
    return START + timedelta(days=day)


def false_alarms(
    streams: Streams,
    subjects: int,
    rng: np.random.Generator,
    settings: BurstSettings,
    *,
    after: datetime = MONTH_BEGINS,
    alone: bool = False,
) -> list[list[Firing]]:
    """Firings per subject from `after` to the streams' end. `alone`: each is the only subject."""
    counts = [rng.poisson(streams.rates(rng)) for _ in range(subjects)]
    together = everyone_of(np.sum(counts, axis=0))
    return [
        firings(
            bins_of(c),
            everyone_of(c) if alone else together,
            settings,
            after=after,
            until=day_start(streams.days),
        )
        for c in counts
    ]


def delays(
    streams: Streams,
    subjects: int,
    rng: np.random.Generator,
    settings: BurstSettings,
    *,
    ratio: float = 5.0,
    hours: tuple[int, int] = (9, 20),
    lasts: timedelta = timedelta(hours=12),
) -> np.ndarray:
    """Hours from a burst's beginning to its firing, per subject (inf: not found while it lasts and 12 h after).

    The burst begins at a random step between two local hours of a random day after 29 days of history and raises the
    rate `ratio`-fold."""
    found = []
    quiet = np.sum([rng.poisson(streams.rates(rng)) for _ in range(5)], axis=0)
    for _ in range(subjects):
        day = HISTORY_DAYS + int(rng.integers(0, streams.days - HISTORY_DAYS - 1))
        begin = day * BINS_PER_DAY + int(rng.integers(hours[0] * 6, hours[1] * 6))
        rates = streams.rates(rng)
        rates[begin : begin + lasts // timedelta(minutes=10)] *= ratio
        counts = rng.poisson(rates)
        begins = bin_start(bin_of(START) + begin)
        fired = firings(
            bins_of(counts),
            everyone_of(quiet + counts),
            settings,
            after=begins,
            until=begins + timedelta(hours=24),
        )
        found.append((fired[0].window_end - begins).total_seconds() / 3600 if fired else np.inf)
    return np.array(found)
