"""The set rate of false alarms holds, and bursts are found, on streams of 2 to 10,000 complaints a day.

What is asserted of bursts: five-fold, begun between 09:00 and 20:00, at 60 complaints a day and more, found within two hours: 90 %
of them on Poisson streams, 85 % on swings as great as those of the real complaints, and only half on swings four times as great;
the median burst in each. Of the evening, the night and volumes below 60 nothing is asserted. At night (00:00 to 06:00) there are
an eighth as many complaints, and far fewer bursts are found within two hours: at 60 a day 14 to 20 % (83 to 88 % within six), at
240 a day 60 to 74 %, from 1,000 a day on 99 % and more; with the great swings 10 to 15, 42 to 48 and 79 to 94 %. ADR 0008 has
the table.

Seeded, so the same on every run. The bound on a count of false alarms is what is expected at the set rate plus three
standard errors (a Poisson count's √). benchmarks/burst_false_alarms.py prints the table behind it, with more subjects.
"""

from datetime import timedelta
from math import sqrt

import numpy as np
import pytest

from closedloop.ticketing.domain.alarm_rate import BurstSettings
from ticketing.domain.burst_streams import HISTORY_DAYS, KINDS, Streams, day_start, delays, false_alarms

SETTINGS = BurstSettings()
VOLUMES = (2, 10, 60, 240, 1000, 10_000)
SUBJECTS = 30


def at_most(expected: float) -> float:
    return expected + 3 * sqrt(expected)


def alarms(streams: Streams, subjects: int, settings: BurstSettings = SETTINGS, *, alone: bool = False) -> int:
    rng = np.random.default_rng([2026, int(streams.per_day), KINDS.index(streams.kind)])
    return sum(len(found) for found in false_alarms(streams, subjects, rng, settings, alone=alone))


@pytest.mark.parametrize("kind", KINDS)
def test_false_alarms_keep_the_set_rate(kind: str) -> None:
    found = {volume: alarms(Streams(kind, volume), SUBJECTS) for volume in VOLUMES}
    rate = SETTINGS.false_alarms_per_month
    assert all(count <= at_most(SUBJECTS * rate) for count in found.values()), found
    assert sum(found.values()) <= at_most(SUBJECTS * len(VOLUMES) * rate), found


def test_false_alarms_keep_the_set_rate_where_a_subject_has_no_others_to_learn_from() -> None:
    assert alarms(Streams("daily", 60), SUBJECTS, alone=True) <= at_most(SUBJECTS * SETTINGS.false_alarms_per_month)


def test_false_alarms_keep_the_set_rate_where_a_subject_has_a_rhythm_of_its_own() -> None:
    streams = Streams("hourly", 60, own_rhythm=0.25)
    assert alarms(streams, SUBJECTS) <= at_most(SUBJECTS * SETTINGS.false_alarms_per_month)


def test_false_alarms_follow_the_setting() -> None:
    often = BurstSettings(false_alarms_per_month=1.0)
    streams = Streams("hourly", 240)
    found = alarms(streams, SUBJECTS, often)
    # Staff who ask for one a month get it, or up to five times fewer: the test is not just deaf.
    assert SUBJECTS / 5 <= found <= at_most(SUBJECTS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_four_weeks_keep_the_set_rate(kind: str) -> None:
    rng = np.random.default_rng([2026, KINDS.index(kind)])
    found = false_alarms(Streams(kind, 60, days=28), SUBJECTS, rng, SETTINGS, after=day_start(0))
    assert sum(map(len, found)) <= at_most(SUBJECTS * SETTINGS.false_alarms_per_month)


@pytest.mark.parametrize("volume", [60, 240, 1000, 10_000])
@pytest.mark.parametrize(
    ("kind", "hourly", "daily", "within_two_hours"),
    [
        ("poisson", 0.0, 0.0, 0.9),
        # Swings as great as those of the real complaints of 2015.
        ("hourly", 0.05, 0.0, 0.85),
        ("daily", 0.0, 0.03, 0.85),
        # Four times as great: an hour of 2.5 times the usual is then nothing special, and bursts are 5 times of that.
        ("hourly", 0.2, 0.0, 0.5),
        ("daily", 0.0, 0.1, 0.5),
    ],
)
def test_a_five_fold_burst_in_waking_hours_is_found_within_two_hours(
    kind: str, hourly: float, daily: float, within_two_hours: float, volume: int
) -> None:
    rng = np.random.default_rng([2026, volume, KINDS.index(kind)])
    streams = Streams(kind, volume, days=HISTORY_DAYS + 9, hourly=hourly, daily=daily)
    found = delays(streams, 60, rng, SETTINGS, lasts=timedelta(hours=6))
    assert np.mean(found <= 2) >= within_two_hours
    assert np.median(found) <= 2
