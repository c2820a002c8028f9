"""What staff may expect of the batch trigger, on streams without noise."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from closedloop.ticketing.domain.alarm_rate import BurstSettings
from closedloop.ticketing.domain.bins import BIN, BINS_PER_DAY, Bins, bin_of
from closedloop.ticketing.domain.burst import Firing, firings
from closedloop.ticketing.domain.everyone import Everyone, history_start
from ticketing.domain.burst_streams import HISTORY_DAYS, START, ZONE, bins_of, day_start, everyone_of

SETTINGS = BurstSettings()
TODAY = day_start(HISTORY_DAYS)


def steady(days: int, *, night: float = 0, day: float = 1) -> np.ndarray:
    """`night` customers an hour before 08:00, `day` an hour from then on, as even as whole customers can be."""
    hours = np.where(np.arange(days * 24) % 24 < 8, night, day)
    upto = np.floor(np.cumsum(hours.repeat(6) / 6) + 1e-6)
    return np.diff(upto, prepend=0).astype(np.int64)


def add(counts: np.ndarray, at: datetime, customers: int) -> None:
    counts[bin_of(at) - bin_of(START)] += customers


def watch(
    counts: np.ndarray,
    after: datetime = TODAY,
    days: float = 1,
    settings: BurstSettings = SETTINGS,
    earlier: Sequence[Firing] = (),
) -> list[Firing]:
    return firings(
        bins_of(counts),
        everyone_of(counts),
        settings,
        after=after,
        until=after + timedelta(days=days),
        earlier=earlier,
    )


def test_a_steady_subject_is_quiet() -> None:
    assert watch(steady(60), days=30) == []


def test_a_burst_fires_with_what_was_expected_and_what_was_seen() -> None:
    counts = steady(31, day=2)
    add(counts, TODAY + timedelta(hours=12), 20)
    (firing,) = watch(counts)
    assert firing.window_end == TODAY + timedelta(hours=12) + BIN
    assert firing.window == timedelta(minutes=30)
    assert firing.window_start == firing.window_end - firing.window
    assert firing.observed == 21  # the 20, and a usual one of the half hour
    assert firing.expected == pytest.approx(1.0, rel=0.1)
    assert 0 < firing.p_value < 1e-5


def test_a_burst_that_goes_on_fires_again_after_a_day_of_silence() -> None:
    counts = steady(34)
    begin = bin_of(TODAY + timedelta(hours=12)) - bin_of(START)
    counts[begin : begin + BINS_PER_DAY * 3 // 2] += 2
    fired = watch(counts, days=3)
    between = [later.window_end - earlier.window_end for earlier, later in pairwise(fired)]
    assert between == [timedelta(hours=24)] * 2  # the window of 24 h still holds its last 12 h at the third


def test_a_firing_before_the_span_keeps_it_silent() -> None:
    counts = steady(31, day=2)
    add(counts, TODAY + timedelta(hours=12), 20)
    (firing,) = watch(counts)
    just_before = [moved(firing, TODAY - timedelta(hours=1))]
    a_day_before = [moved(firing, firing.window_end - timedelta(hours=24))]
    assert watch(counts, earlier=just_before) == []
    assert [f.window_end for f in watch(counts, earlier=a_day_before)] == [firing.window_end]


def moved(firing: Firing, window_end: datetime) -> Firing:
    return replace(firing, window_start=window_end - firing.window, window_end=window_end)


def test_a_second_burst_is_found_as_fast_as_the_first() -> None:
    counts = steady(50, day=2)
    begins = [TODAY + timedelta(days=1, hours=12), TODAY + timedelta(days=11, hours=12)]
    for begin in begins:
        at = bin_of(begin) - bin_of(START)
        counts[at : at + 72] += 2
    fired = watch(counts, days=20)
    first, second = (next(f.window_end - begin for f in fired if f.window_end > begin) for begin in begins)
    assert second == first <= timedelta(hours=1)
    # Without the firings of the first one, the first one is taken for usual, and the second goes unseen.
    assert watch(counts, after=begins[1], days=0.5) == []
    assert watch(counts, after=begins[1], days=0.5, earlier=fired) != []


def test_a_subject_that_became_busier_for_good_stops_firing() -> None:
    counts = steady(90, day=2)
    counts[(HISTORY_DAYS + 1) * BINS_PER_DAY :] *= 4
    fired = watch(counts, days=60)
    assert 1 <= len(fired) <= 10
    assert fired[-1].window_end < TODAY + timedelta(days=12)


def test_what_is_usual_by_day_is_a_burst_at_night() -> None:
    counts = steady(31, night=0, day=10)
    by_day, by_night = counts.copy(), counts.copy()
    add(by_day, TODAY + timedelta(hours=15), 8)
    add(by_night, TODAY + timedelta(hours=3), 8)
    assert watch(by_day) == []
    assert len(watch(by_night)) == 1


def test_fewer_than_five_customers_are_no_batch() -> None:
    four, five = steady(31, day=0), steady(31, day=0)
    add(four, TODAY + timedelta(hours=12), 4)
    add(five, TODAY + timedelta(hours=12), 5)
    assert watch(four) == []
    assert len(watch(five)) == 1  # nobody ever complained about this before


def test_a_rise_by_less_than_half_is_no_batch() -> None:
    counts = steady(31, day=600)
    counts[HISTORY_DAYS * BINS_PER_DAY :] = counts[HISTORY_DAYS * BINS_PER_DAY :] * 14 // 10
    assert watch(counts) == []


def test_a_beginning_burst_does_not_raise_what_is_expected() -> None:
    counts = steady(32, day=2)
    begin = bin_of(TODAY + timedelta(hours=12)) - bin_of(START)
    counts[begin : begin + BINS_PER_DAY] += 3
    _, second = watch(counts, days=2)
    assert second.window == timedelta(hours=24)
    assert second.expected == pytest.approx(32, rel=0.1)


def test_who_accepts_fewer_false_alarms_hears_later_of_a_burst() -> None:
    counts = steady(31, day=2)
    begin = bin_of(TODAY + timedelta(hours=12)) - bin_of(START)
    counts[begin : begin + 36] += 1
    (loose,) = watch(counts, settings=BurstSettings(false_alarms_per_month=0.1))
    (strict,) = watch(counts, settings=BurstSettings(false_alarms_per_month=0.001))
    assert loose.window_end < strict.window_end


def test_a_subject_with_little_history_borrows_the_rhythm_of_all() -> None:
    busy = steady(31, night=0, day=60)
    counts = steady(31, day=0)
    for day in range(HISTORY_DAYS):
        add(counts, day_start(day) + timedelta(hours=10 + day % 8), 1)
    add(counts, TODAY + timedelta(hours=12), 6)
    until = TODAY + timedelta(days=1)
    (alone,) = firings(bins_of(counts), everyone_of(counts), SETTINGS, after=TODAY, until=until)
    (among_others,) = firings(bins_of(counts), everyone_of(counts + busy), SETTINGS, after=TODAY, until=until)
    # The others are quiet for 8 hours of 24: so an hour of the day has 1.5 times what a flat day would give it.
    assert among_others.expected > alone.expected


@pytest.mark.parametrize("days", [0, 1, 2])
def test_before_three_days_are_recorded_nothing_fires(days: int) -> None:
    counts = steady(5, day=2)
    add(counts, day_start(days) + timedelta(hours=12), 1000)
    assert watch(counts, after=day_start(days), days=1) == []


def test_in_the_first_week_a_great_burst_is_found() -> None:
    counts = steady(6, day=2)
    begin = 4 * BINS_PER_DAY + 12 * 6
    counts[begin : begin + BINS_PER_DAY] += 4
    (firing,) = watch(counts, after=day_start(4), days=1)
    assert firing.window_end - day_start(4) - timedelta(hours=12) <= timedelta(hours=12)


def test_history_start_is_all_that_a_span_needs() -> None:
    counts = steady(62, day=2)
    after = day_start(45) + timedelta(hours=12)
    add(counts, after + timedelta(hours=3), 20)
    whole = bins_of(counts)
    start = bin_of(history_start(after, ZONE))
    enough = Bins(start, whole.between(start, whole.stop))
    too_little = Bins(start + 1, whole.between(start + 1, whole.stop))
    everyone = everyone_of(counts)

    def found(subject: Bins, everyone: Everyone) -> list[Firing]:
        return firings(subject, everyone, SETTINGS, after=after, until=after + timedelta(days=1))

    assert len(found(whole, everyone)) == 1
    assert found(enough, Everyone(enough, ZONE, START)) == found(whole, everyone)
    with pytest.raises(ValueError, match="history_start"):
        found(too_little, everyone)


def test_an_empty_span_has_no_firings() -> None:
    assert watch(steady(31), days=0) == []
    assert watch(steady(31), days=-1) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("false_alarms_per_month", 0.0),
        ("false_alarms_per_month", float("nan")),
        ("false_alarms_per_month", 1.01),
        ("least_customers", 0),
        ("least_ratio", 0.9),
        ("least_ratio", float("nan")),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(setting: str, value: float) -> None:
    changed: dict[str, Any] = {setting: value}
    with pytest.raises(ValueError, match=setting):
        BurstSettings(**changed)


def test_more_accepted_false_alarms_make_the_test_less_strict() -> None:
    limits = [BurstSettings(false_alarms_per_month=t).p_limit(240) for t in (0.001, 0.01, 0.0999, 0.1, 0.1001, 1.0)]
    assert limits == sorted(limits)
    assert len(set(limits)) == len(limits)
