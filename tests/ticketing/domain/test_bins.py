"""The grid of ten minutes, and the operator's days and hours on it."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.ticketing.domain.bins import BIN, Bins, bin_of, bin_start, next_bin
from closedloop.ticketing.domain.local_time import first_bin, hours_of_week, local_day

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
times = st.datetimes(datetime(2000, 1, 2), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
# Beirut and Havana set clocks at midnight, St. John's a minute later, Lord Howe by half an hour; Apia once skipped a day.
zones = st.sampled_from(
    [
        "Asia/Shanghai",
        "America/New_York",
        "Asia/Beirut",
        "America/Havana",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "America/St_Johns",
    ]
).map(ZoneInfo)


@given(times)
def test_a_time_lies_in_its_bin(time: datetime) -> None:
    assert bin_start(bin_of(time)) <= time < bin_start(bin_of(time)) + BIN


@given(times)
def test_the_next_bin_begins_at_a_time_or_after_it(time: datetime) -> None:
    assert bin_start(next_bin(time)) - BIN < time <= bin_start(next_bin(time))


def test_times_of_one_moment_in_two_zones_share_a_bin() -> None:
    assert bin_of(NOON) == bin_of(NOON.astimezone(ZoneInfo("Asia/Shanghai")))


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        bin_of(datetime(2026, 6, 1, 12))  # noqa: DTZ001


def test_counts_are_added_per_bin_and_gaps_are_zero() -> None:
    bins = Bins.from_counts([(12, 2), (10, 1), (12, 3), (9, 7), (14, 7)], first=10, stop=14)
    assert bins.counts.tolist() == [1, 0, 5, 0]


def test_times_are_counted_from_since_to_until() -> None:
    bins = Bins.from_times([NOON, NOON + BIN / 2, NOON + 2 * BIN], NOON, NOON + 3 * BIN)
    assert bins.counts.tolist() == [2, 0, 1]


def test_a_bin_that_was_not_loaded_is_no_zero() -> None:
    bins = Bins.from_counts([], first=10, stop=14)
    with pytest.raises(ValueError, match="history_start"):
        bins.between(9, 12)
    with pytest.raises(ValueError, match="history_start"):
        bins.between(12, 15)


@given(zones, times, st.integers(1, 400))
def test_each_bin_has_the_hour_and_weekday_at_which_it_begins(zone: ZoneInfo, time: datetime, length: int) -> None:
    first = bin_of(time)
    local = [bin_start(number).astimezone(zone) for number in range(first, first + length)]
    assert hours_of_week(first, first + length, zone).tolist() == [24 * t.weekday() + t.hour for t in local]


def test_no_bins_have_no_hours() -> None:
    assert hours_of_week(720, 720, ZoneInfo("UTC")).tolist() == []


@given(zones, times)
def test_each_bin_lies_in_exactly_one_local_day(zone: ZoneInfo, time: datetime) -> None:
    number = bin_of(time)
    day = local_day(number, zone)
    assert first_bin(day, zone) <= number < first_bin(day + timedelta(days=1), zone)


def test_a_day_on_which_clocks_are_set_forward_is_an_hour_shorter() -> None:
    new_york = ZoneInfo("America/New_York")
    assert first_bin(date(2026, 3, 9), new_york) - first_bin(date(2026, 3, 8), new_york) == 138


def test_an_hour_that_comes_again_after_midnight_belongs_to_the_day_that_has_begun() -> None:
    st_johns = ZoneInfo("America/St_Johns")  # at 00:01 on 7 November 2010 clocks went back to 23:01
    again = bin_of(datetime(2010, 11, 6, 23, 30, fold=1, tzinfo=st_johns))
    assert bin_start(again).astimezone(st_johns).date() == date(2010, 11, 6)
    assert local_day(again, st_johns) == date(2010, 11, 7)
