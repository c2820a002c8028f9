"""Days, hours and minutes cover exactly what windows do, and nothing lies across a window's edge."""

from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from closedloop.kpi.domain.cover import Calendar, Cover, cover
from closedloop.kpi.domain.windows import time_of

SHANGHAI = Calendar(ZoneInfo("Asia/Shanghai"))
CALENDARS = [
    SHANGHAI,
    *(Calendar(ZoneInfo(name)) for name in ("Asia/Kolkata", "Asia/Kathmandu", "Europe/Berlin", "America/Sao_Paulo")),
]
SPRING = 29_556_000
"""In March 2026; the clocks of Berlin change within the days after it."""
DAY = 1440
edges = st.integers(0, 20 * DAY).map(lambda minute: SPRING + minute)
windows = st.lists(st.tuples(edges, st.one_of(st.integers(0, 300), st.integers(0, 9 * DAY))), min_size=1, max_size=6)


def pieces(covered: Cover) -> list[tuple[int, int]]:
    return [(start, end) for part in covered for start, end in part.tolist()]


@given(windows, st.sampled_from(CALENDARS), st.booleans())
def test_what_is_covered_is_what_the_windows_hold(asked: list[tuple[int, int]], calendar: Calendar, by_hours: bool) -> None:
    spans = [(start, start + length) for start, length in asked]
    covered = pieces(cover(spans, calendar, by_hours=by_hours))
    times = np.zeros(35 * DAY, dtype=np.int64)
    for start, end in covered:
        times[start - SPRING : end - SPRING] += 1
    held = np.zeros_like(times)
    for start, end in spans:
        held[start - SPRING : end - SPRING] = 1
    assert np.array_equal(times, held)


@given(windows, st.sampled_from(CALENDARS), st.booleans())
def test_hours_and_days_are_whole_and_no_window_ends_inside_one(
    asked: list[tuple[int, int]], calendar: Calendar, by_hours: bool
) -> None:
    spans = [(start, start + length) for start, length in asked if length]
    days, hours, minutes = cover(spans, calendar, by_hours=by_hours)
    ends = {edge for span in spans for edge in span}
    midnights = set(calendar.midnights(SPRING - DAY, SPRING + 40 * DAY).tolist())
    for start, end in days.tolist():
        assert {start, end} <= midnights
    for start, end in hours.tolist():
        assert start % calendar.hour == end % calendar.hour == 0
    for start, end in [*days.tolist(), *hours.tolist(), *minutes.tolist()]:
        assert not any(start < edge < end for edge in ends)


@given(edges, st.integers(2 * DAY, 15 * DAY), st.sampled_from(CALENDARS))
def test_edges_that_are_not_aligned_take_less_than_two_days_beside_whole_ones(start: int, length: int, calendar: Calendar) -> None:
    days, hours, minutes = cover([(start, start + length)], calendar)
    assert len(days) == 1
    assert sum((part[:, 1] - part[:, 0]).sum() for part in (hours, minutes)) < 2 * 25 * 60
    _, _, minutes = cover([(start, start + length)], calendar, by_hours=True)
    assert (minutes[:, 1] - minutes[:, 0]).sum() < 2 * calendar.hour


@pytest.mark.parametrize(("zone", "hour"), [("Asia/Shanghai", 60), ("Asia/Kolkata", 30), ("Asia/Kathmandu", 15), ("UTC", 60)])
def test_an_hour_is_what_days_of_the_zone_can_be_cut_into(zone: str, hour: int) -> None:
    assert Calendar(ZoneInfo(zone)).hour == hour


@given(edges, st.sampled_from(CALENDARS))
@example(SPRING, CALENDARS[3])
def test_a_minute_is_of_the_day_that_the_operators_clock_shows(minute: int, calendar: Calendar) -> None:
    zone = ZoneInfo(calendar.name)
    begun = int(calendar.day_of(np.array([minute]))[0])
    assert begun <= minute
    assert time_of(begun).astimezone(zone).date() == time_of(minute).astimezone(zone).date()
    assert time_of(begun - 1).astimezone(zone).date() < time_of(minute).astimezone(zone).date()


def test_times_beyond_the_calendar_are_covered_all_the_same() -> None:
    for far in (-(10**9), 4 * 10**9):
        assert sum(end - start for start, end in pieces(cover([(far, far + 3 * DAY)], SHANGHAI))) == 3 * DAY
    assert pieces(cover([(5, 5)], SHANGHAI)) == []
