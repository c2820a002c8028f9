"""Windows and steps are the operator's; sums over many windows equal sums over each."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.kpi.domain.measures import Measure
from closedloop.kpi.domain.rolling import figures_over_windows
from closedloop.kpi.domain.windows import MOST_POINTS, TooManyPoints, back, minute_of, natural, points, time_of, window_start

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    return minute_of(datetime.fromisoformat(text))


def test_a_window_ends_before_its_minute() -> None:
    assert window_start("1h", at("2026-11-20T08:30+08:00"), SHANGHAI) == at("2026-11-20T07:30+08:00")
    assert window_start("30d", at("2026-11-20T08:30+08:00"), SHANGHAI) == at("2026-10-21T08:30+08:00")


def test_a_month_begins_at_the_operators_midnight() -> None:
    assert window_start("month", at("2026-11-20T08:30+08:00"), SHANGHAI) == at("2026-11-01T00:00+08:00")
    assert window_start("month", at("2026-11-01T00:01+08:00"), SHANGHAI) == at("2026-11-01T00:00+08:00")


def test_at_the_end_of_a_month_it_is_whole() -> None:
    assert window_start("month", at("2026-12-01T00:00+08:00"), SHANGHAI) == at("2026-11-01T00:00+08:00")


def test_days_step_on_the_operators_clock_when_it_changes() -> None:
    ends = points(at("2026-03-28T00:00+01:00"), at("2026-03-30T00:00+02:00"), "1d", BERLIN)
    assert [time_of(end).astimezone(BERLIN).hour for end in ends] == [0, 0, 0]
    assert ends[2] - ends[1] == 23 * 60


def test_months_step_to_the_last_day_where_there_is_no_such_day() -> None:
    ends = points(at("2026-01-31T00:00+08:00"), at("2026-04-30T12:00+08:00"), "month", SHANGHAI)
    assert [f"{time_of(end).astimezone(SHANGHAI):%m-%d}" for end in ends] == ["01-31", "02-28", "03-31", "04-30"]


def test_steps_end_at_or_before_the_end() -> None:
    assert points(0, 10, "3m", SHANGHAI) == [0, 3, 6, 9]
    assert points(0, 9, "3m", SHANGHAI) == [0, 3, 6, 9]
    assert points(1, 0, "3m", SHANGHAI) == []
    assert back(100, 3, "1h", SHANGHAI) == -80


@pytest.mark.parametrize(
    ("step", "boundary"),
    [
        ("15m", "2026-11-20T10:30+08:00"),
        ("1h", "2026-11-20T10:00+08:00"),
        ("6h", "2026-11-20T06:00+08:00"),
        ("1d", "2026-11-20T00:00+08:00"),
        ("month", "2026-11-01T00:00+08:00"),
    ],
)
def test_a_steps_natural_boundaries_are_counted_from_the_operators_midnight(step: str, boundary: str) -> None:
    assert natural(at("2026-11-20T10:37+08:00"), step, SHANGHAI) == at(boundary)
    assert natural(at(boundary), step, SHANGHAI) == at(boundary)


def test_too_many_points_are_refused_before_they_are_made() -> None:
    assert len(points(0, MOST_POINTS - 1, "1m", SHANGHAI)) == MOST_POINTS
    with pytest.raises(TooManyPoints):
        points(0, 10**9, "1m", SHANGHAI)


@pytest.mark.parametrize("step", ["0m", "1w", "", "m", "-1h", "1.5h", "1h ", "9999999h"])
def test_a_step_that_is_none_is_refused(step: str) -> None:
    with pytest.raises(ValueError, match="must be a number with m, h or d"):
        points(0, 1, step, SHANGHAI)


SUM = {"sum": Measure("sum", "evaluations", frozenset(), pl.col("sum"))}
Rows = list[tuple[str | None, int, float]]
quantity = st.one_of(st.integers(0, 1000).map(float), st.floats(0, 1000, allow_nan=False))
buckets = st.lists(st.tuples(st.sampled_from(["NJ", "SZ", None]), st.integers(0, 50), quantity), max_size=30)
windows = st.lists(st.tuples(st.integers(-5, 55), st.integers(0, 30)).map(lambda w: (w[0], w[0] + w[1])), min_size=1, max_size=8)


@settings(deadline=None)
@given(buckets, windows)
def test_sums_over_many_windows_equal_sums_over_each(
    rows: list[tuple[str | None, int, float]], asked: list[tuple[int, int]]
) -> None:
    frame = pl.DataFrame(rows, schema={"region": pl.String, "minute": pl.Int32, "sum": pl.Float64}, orient="row")
    rolled = figures_over_windows([frame], ["region"], asked, SUM)
    found = {(row["region"], row["window"]): row["sum"] for row in rolled.iter_rows(named=True)}
    for region in {row[0] for row in rows}:
        for number, (start, end) in enumerate(asked):
            plain = sum(value for where, minute, value in rows if where == region and start <= minute < end)
            assert found.pop((region, number)) == pytest.approx(plain, abs=0 if plain == 0 else 1e-9)
    assert not found
    whole = figures_over_windows([frame.drop("region")], [], asked, SUM)
    assert len(whole) == len(asked)


def test_nothing_leaves_no_dust() -> None:
    rows = [("NJ", minute, random.Random(1).random()) for minute in range(50)]
    frame = pl.DataFrame(rows, schema={"region": pl.String, "minute": pl.Int32, "sum": pl.Float64}, orient="row")
    assert figures_over_windows([frame], ["region"], [(0, 50), (60, 70)], SUM)["sum"].to_list()[1] == 0.0


def test_now_is_a_minute_of_utc() -> None:
    now = datetime(2026, 11, 20, 0, 0, 59, tzinfo=UTC)
    assert time_of(minute_of(now)) == now - timedelta(seconds=59)
