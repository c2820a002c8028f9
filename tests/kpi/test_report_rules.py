"""What a report says of a figure: how it is judged, what it is compared with, and when it is restated."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.kpi.domain.aggregates import Quantile
from closedloop.kpi.domain.catalogue import Better, EventIndicator, Indicator, ReportedIndicator
from closedloop.kpi.domain.months import bounds, earlier, month_of
from closedloop.kpi.domain.report import (
    Amount,
    Judgement,
    Shortcoming,
    UnitAmount,
    difference,
    judged,
    short_since,
    shortcomings,
    worst,
)
from closedloop.kpi.domain.windows import time_of
from kpi.shipped import SHIPPED

SHARE = next(one for one in SHIPPED.indicators if isinstance(one, EventIndicator) and one.denominator is not None)
COUNT = next(
    one
    for one in SHIPPED.indicators
    if isinstance(one, EventIndicator) and one.denominator is None and not isinstance(one.numerator, Quantile)
)
REPORTED = next(one for one in SHIPPED.indicators if isinstance(one, ReportedIndicator))
MONTHS = st.builds("{:04d}-{:02d}".format, st.integers(2001, 2098), st.integers(1, 12))


def indicator(better: Better, target: float | None, warning: float | None = None, critical: float | None = None) -> Indicator:
    return replace(SHARE, better=better, target=target, warning=warning, critical=critical)


def of(value: float | None, sample: int = 100) -> Amount:
    return Amount(value, None, None, sample)


@pytest.mark.parametrize(
    ("value", "judgement"),
    [(96.0, "ok"), (95.0, "ok"), (94.9, "short"), (90.0, "short"), (89.9, "warning"), (79.9, "critical"), (None, "no_data")],
)
def test_a_month_is_judged_by_the_worst_level_that_it_fails(value: float | None, judgement: Judgement) -> None:
    assert judged(indicator("higher", 95, 90, 80), of(value)) == judgement
    mirrored = None if value is None else -value
    assert judged(indicator("lower", -95, -90, -80), of(mirrored)) == judgement


def test_an_indicator_without_any_level_is_not_judged() -> None:
    assert judged(indicator("higher", None), of(3.0)) == "not_judged"
    assert judged(indicator("higher", None), of(None)) == "not_judged"


def test_a_share_of_a_few_events_is_not_judged_and_a_count_or_a_report_is() -> None:
    few = Amount(50.0, 1, 2, 29)
    assert judged(replace(SHARE, target=5), few) == "too_few"
    assert judged(replace(SHARE, target=5), replace(few, sample=30)) == "short"
    assert judged(replace(COUNT, better="lower", target=5), few) == "short"
    assert judged(replace(REPORTED, better="lower", target=5), replace(few, sample=1)) == "short"


def test_a_reported_ratio_of_a_few_is_not_judged_where_its_entry_asks_for_more() -> None:
    plain = replace(REPORTED, numerator="a", denominator="b", better="higher", target=95, warning=90, critical=80)
    strict = replace(plain, minimum_sample=20)
    assert judged(plain, Amount(0.0, 0.0, 3.0, 1)) == "critical"
    assert judged(strict, Amount(0.0, 0.0, 3.0, 1)) == "too_few"
    assert judged(strict, Amount(0.0, 0.0, 20.0, 1)) == "critical"
    assert judged(replace(SHARE, target=5, minimum_sample=200), of(50.0)) == "too_few"


def test_a_shortcoming_keeps_its_first_month_until_it_is_gone() -> None:
    assert short_since("critical", "2026-10", "2026-07") == "2026-07"
    assert short_since("short", "2026-10", None) == "2026-10"
    assert short_since("ok", "2026-10", "2026-07") is None
    assert short_since("no_data", "2026-10", "2026-07") == "2026-07"
    assert short_since("too_few", "2026-10", None) is None


def test_what_falls_short_is_followed_through_what_is_unknown_until_it_is_fine_or_measured_no_more() -> None:
    published: list[tuple[str, dict[str, Judgement]]] = [
        ("2026-07", {"a": "short", "b": "ok", "c": "warning", "d": "critical"}),
        ("2026-08", {"a": "no_data", "b": "short", "c": "too_few", "d": "not_judged"}),  # whose target was taken away
        ("2026-10", {"a": "critical", "b": "short"}),  # c was retired
        ("2026-11", {"a": "ok", "b": "short", "d": "short"}),
    ]
    assert sorted(shortcomings(published), key=lambda one: (one.indicator_id, one.since)) == [
        Shortcoming("a", "2026-07", "2026-11"),
        Shortcoming("b", "2026-08", None),
        Shortcoming("c", "2026-07", "2026-10"),
        Shortcoming("d", "2026-07", "2026-08"),
        Shortcoming("d", "2026-11", None),
    ]
    assert shortcomings([]) == []


def test_a_difference_needs_both_sides() -> None:
    assert difference(Amount(3.0, 3, None, 3), Amount(5.0, 5, None, 5)) == -2
    assert difference(Amount(3.0, 3, None, 3), Amount(None, 0, 0, 0)) is None


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=12), st.sampled_from(["higher", "lower"]))
def test_no_region_that_is_left_out_is_worse_than_one_that_is_named(values: list[float | None], better: Better) -> None:
    units = [UnitAmount(f"R{n}", of(value)) for n, value in enumerate(values)]
    named = worst(indicator(better, None), [*units, UnitAmount("tiny", of(1e9, 3)), UnitAmount("small", of(-1e9, 3))], 3)
    shown = [unit.amount.value for unit in named]
    others = [unit.amount.value for unit in units if unit not in named and unit.amount.value is not None]
    assert None not in shown
    assert len(named) == min(3, sum(value is not None for value in values))
    for value in shown:
        assert value is not None
        assert all(value <= other if better == "higher" else value >= other for other in others)


@given(MONTHS, st.integers(-30, 30), st.sampled_from(["Asia/Shanghai", "UTC", "America/New_York", "Asia/Kolkata"]))
def test_months_follow_each_other_without_gap(month: str, by: int, zone: str) -> None:
    assert earlier(earlier(month, by), -by) == month
    start, end = bounds(month, ZoneInfo(zone))
    assert month_of(start, ZoneInfo(zone)) == month_of(end - 1, ZoneInfo(zone)) == month
    assert bounds(earlier(month, 1), ZoneInfo(zone))[1] == start
    assert 27.9 * 1440 < end - start < 31.1 * 1440
    assert time_of(start).astimezone(ZoneInfo(zone)).day == 1
