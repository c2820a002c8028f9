"""Backtests, pure: the same as was stated live, and the breaches that another rule would have raised."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import polars as pl

from closedloop.kpi.domain.backtest import DAY, Backtest, Breach, overlapping, paired
from closedloop.kpi.domain.control import edges
from closedloop.kpi.domain.statement import Series, Statement
from closedloop.kpi.domain.stating import state, state_charts
from closedloop.kpi.domain.thresholds import Control, Mute, Threshold
from kpi.shipped import SHIPPED
from kpi.test_stating import SUBJECT, Bucket, totals

SHANGHAI = ZoneInfo("Asia/Shanghai")
START = 20_000 * DAY - 8 * 60  # midnight in Shanghai


def days(*failed: int, of: int = 100, region: str = "NJ") -> dict[int, list[Bucket]]:
    """So many failed orders on each day, at noon."""
    return {START + day * DAY + 720: [(region, "a", count, of)] for day, count in enumerate(failed)}


def run(rule: Threshold | Control, buckets: dict[int, list[Bucket]], since: int, until: int) -> list[Breach]:
    test = Backtest(SUBJECT, rule, SHANGHAI, since, until)
    for part in test.rounds:
        test.take(part, grouped(buckets, rule, part.reads_from, part.reads_to))
    return test.breaches()


def grouped(buckets: dict[int, list[Bucket]], rule: Threshold | Control, start: int, end: int) -> pl.DataFrame:
    return totals(buckets, [(start, end)]).group_by(*rule.by, "minute").agg(pl.col(pl.Float64).sum())


def seen(breaches: list[Breach]) -> list[tuple[int, int | None, str]]:
    return [(b.begin - START, None if b.end is None else b.end - START, b.level) for b in breaches]


THRESHOLD = Threshold("1h", 20, 50, ("region",), warning=10)


def test_a_lower_threshold_would_have_raised_more() -> None:
    buckets = days(5, 15, 30, 5)
    assert seen(run(Threshold("1h", 20, 50, ("region",)), buckets, START, START + 4 * DAY)) == [
        (2 * DAY + 721, 2 * DAY + 781, "critical")
    ]
    found = run(THRESHOLD, buckets, START, START + 4 * DAY)
    assert seen(found) == [(DAY + 721, DAY + 781, "warning"), (2 * DAY + 721, 2 * DAY + 781, "critical")]
    assert (found[1].data.value, found[1].data.numerator, found[1].data.denominator) == (30.0, 30.0, 100.0)
    assert found[1].reason == "no data"


def test_it_raises_what_live_rounds_state_however_long_the_history() -> None:
    buckets = days(*(30 if day % 7 == 3 else 12 if day % 5 == 0 else 5 for day in range(100)))
    known: dict[str, Series] = {}
    made: list[Statement] = []
    for day in range(0, 101, 10):
        upto = START + day * DAY
        moved, some = state(SUBJECT, THRESHOLD, grouped(buckets, THRESHOLD, START, upto), known, upto)
        known |= {series.key: series for series in moved}
        made += some
    found = run(THRESHOLD, buckets, START, START + 100 * DAY)
    assert found == paired(made)
    assert len(found) > 25


def test_what_stands_when_the_history_begins_is_stated_at_its_first_minute() -> None:
    since = START + 750
    assert seen(run(THRESHOLD, days(30), since, START + DAY)) == [(751, 781, "critical")]


def test_mutes_of_the_rule_count() -> None:
    noon = Mute(frozenset(range(7)), 11 * 60, 14 * 60)
    assert run(Threshold("1h", 20, 50, ("region",), mute=(noon,)), days(30), START, START + DAY) == []


def test_a_level_left_for_a_worse_one_ends_where_that_begins() -> None:
    at = START + 720
    buckets: dict[int, list[Bucket]] = {at: [("NJ", "a", 15, 100)], at + 10: [("NJ", "a", 85, 100)], at + 65: [("NJ", "a", 5, 100)]}
    found = run(THRESHOLD, buckets, START, START + DAY)
    assert seen(found) == [(721, 731, "warning"), (731, 791, "critical")]
    assert seen(overlapping(found, START + 731, START + DAY)) == [(731, 791, "critical")]


CHART = Control("p", "day", 8, ("beyond_limit",), ("region",), "critical")


def test_a_chart_signals_the_day_after_and_for_a_day() -> None:
    counts = [9, 11, 10, 12, 9, 10, 11, 10, 30, 10]
    found = run(CHART, days(*counts), START, START + 11 * DAY)
    assert seen(found) == [(9 * DAY, 10 * DAY, "critical")]
    assert found[0].data.rule == "beyond_limit"
    assert (found[0].data.value, found[0].data.sample, found[0].data.window) == (30.0, 100, "day")
    assert 15 < found[0].data.threshold < 30
    assert found[0].data.series_url is not None
    assert "step=1d" in found[0].data.series_url


def test_a_charts_mute_holds_its_signal_back_until_it_ends() -> None:
    counts = [9, 11, 10, 12, 9, 10, 11, 10, 30, 10]
    until_eight = Mute(frozenset(range(7)), 0, 8 * 60)
    assert seen(run(replace(CHART, mute=(until_eight,)), days(*counts), START, START + 11 * DAY)) == [
        (9 * DAY + 8 * 60, 10 * DAY, "critical")
    ]
    always = Mute(frozenset(range(7)), 0, 24 * 60)
    assert run(replace(CHART, mute=(always,)), days(*counts), START, START + 11 * DAY) == []


def test_a_chart_is_stated_alike_however_the_minutes_are_cut() -> None:
    counts = [9, 11, 10, 12, 9, 10, 11, 10, 30, 10, 9, 40, 41, 10, 9, 10]
    buckets = days(*counts) | {at + 1: rows for at, rows in days(*counts[::-1], region="SZ").items()}
    end = START + 17 * DAY
    whole = run(CHART, buckets, START, end)
    assert len(whole) == 2
    for step in (400, 1440, 3 * 1440 + 7):
        known: dict[str, Series] = {}
        made: list[Statement] = []
        for upto in [*range(START + step, end, step), end]:
            after = min((series.stated_until for series in known.values()), default=START)
            ends = edges(CHART, SHANGHAI, after, upto)
            read = grouped(buckets, CHART, ends[0], ends[-1]) if ends else grouped({}, CHART, 0, 0)
            moved, some = state_charts(SUBJECT, CHART, SHANGHAI, ends, read, known, upto)
            known |= {series.key: series for series in moved}
            made += some
        assert paired(made) == whole


def test_the_shipped_thresholds_can_be_tested_back() -> None:
    for indicator in SHIPPED.from_events:
        if indicator.threshold is not None:
            assert len(Backtest(indicator, indicator.threshold, SHANGHAI, START, START + 400 * DAY).rounds) == 13
