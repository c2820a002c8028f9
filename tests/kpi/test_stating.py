"""Rounds of statements, pure: the same is stated however the minutes are cut into rounds, and no bucket is overlooked."""

from itertools import pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.kpi.domain.statement import Series, Statement, series_key, withdrawal_of
from closedloop.kpi.domain.stating import DAY, MAX_DAYS, Round, plan, state
from closedloop.kpi.domain.thresholds import Threshold
from kpi.shipped import shipped

SUBJECT = shipped("order_failure_rate")
THRESHOLD = Threshold("1h", 20, 5, ("region", "product"))
START = 20_000 * DAY

Bucket = tuple[str | None, str, int, int]  # region, product, failed, ended


def totals(buckets: dict[int, list[Bucket]], ranges: list[tuple[int, int]]) -> pl.DataFrame:
    rows = [
        {"region": region, "product": product, "minute": minute, "numerator": failed, "denominator": ended, "sample": ended}
        for start, end in ranges
        for minute in sorted(buckets)
        if start <= minute < end
        for region, product, failed, ended in buckets[minute]
    ]
    named = {"region": pl.String, "product": pl.String, "minute": pl.Int32}
    frame = pl.DataFrame(rows, schema={**named, **dict.fromkeys(("numerator", "denominator", "sample"), pl.Float64)})
    return frame.group_by("region", "product", "minute").agg(pl.all().sum())


def simulate(buckets: dict[int, list[Bucket]], frontiers: list[int], visible_ahead: int) -> list[Statement]:
    """The rounds at these frontiers, on buckets that are there once the frontier is within `visible_ahead` minutes of them."""
    known: dict[str, Series] = {}
    finished: dict[int, int] = {}
    made: list[Statement] = []
    for frontier in frontiers:
        there = {minute: rows for minute, rows in buckets.items() if minute < frontier + visible_ahead}
        contents = {day: sum(minute // DAY == day for minute in there) for day in {minute // DAY for minute in there}}
        is_last = False
        while not is_last:
            changed = [day for day, content in contents.items() if finished.get(day) != content]
            lagging = [(series, THRESHOLD) for series in known.values() if series.stated_until < frontier]
            this = plan(contents, changed, lagging, frontier)
            moved, statements = state(SUBJECT, THRESHOLD, totals(there, this.ranges), known, this.upto)
            known |= {series.key: series for series in moved}
            finished |= {day: contents[day] for day in this.finished_days}
            made += statements
            is_last = this.is_last
    return sorted(made, key=lambda statement: (statement.end, statement.series))


@st.composite
def streams(draw: st.DrawFn) -> dict[int, list[Bucket]]:
    def bucket() -> Bucket:
        ended = draw(st.integers(1, 8))
        return draw(st.sampled_from(["NJ", "SZ", None])), draw(st.sampled_from(["a", "b"])), draw(st.integers(0, ended)), ended

    minutes = draw(st.sets(st.integers(0, 4 * DAY), max_size=25))
    return {START + minute: [bucket() for _ in range(draw(st.integers(1, 3)))] for minute in minutes}


@settings(deadline=None)
@given(streams(), st.sets(st.integers(-30, 4 * DAY), max_size=6), st.sampled_from([0, 90, 3 * DAY]))
def test_it_does_not_matter_at_which_minutes_one_looks(buckets: dict[int, list[Bucket]], cuts: set[int], ahead: int) -> None:
    end = START + 4 * DAY + 120
    at_once = simulate(buckets, [end], ahead)
    assert simulate(buckets, [*(START + cut for cut in sorted(cuts)), end], ahead) == at_once
    assert not any(None in statement.data.dimensions.values() for statement in at_once)
    # each series breaches and recovers in turn
    for series in {statement.series for statement in at_once}:
        kinds = [statement.kind for statement in at_once if statement.series == series]
        assert all(before != after for before, after in pairwise(["recovered", *kinds]))


def test_a_round_reads_the_windows_of_what_is_stated_and_what_changed() -> None:
    stated = Series("order_failure_rate", {}, stated_until=START + 10 * DAY + 30)
    this = plan(range(20_000, 20_012), [20_002, 20_003], [(stated, Threshold("24h", 1, 1))], START + 10 * DAY + 40)
    assert this.days == [20_002, 20_003, 20_009, 20_010]
    assert this.ranges == [(START + 2 * DAY, START + 4 * DAY), (START + 9 * DAY, START + 10 * DAY + 40)]
    assert this.finished_days == [20_002, 20_003, 20_009]
    assert this.is_last


def test_a_round_looks_at_no_more_than_its_days() -> None:
    this = plan(range(20_000, 20_200), range(20_000, 20_200), [], START + 300 * DAY)
    assert this == Round(list(range(20_000, 20_000 + MAX_DAYS)), START + MAX_DAYS * DAY, is_last=False)
    assert this.ranges == [(START, START + MAX_DAYS * DAY)]


def test_a_series_bears_one_name_whatever_the_order_of_its_dimensions() -> None:
    assert series_key("x", {"region": "NJ", "topic_path": "a/b c&d=e"}) == series_key(
        "x", {"topic_path": "a/b c&d=e", "region": "NJ"}
    )
    assert series_key("x", {}) == "x"
    assert series_key("x", {"a": "1&b=2"}) != series_key("x", {"a": "1", "b": "2"})


def test_a_withdrawal_says_which_breach_it_ends() -> None:
    buckets: dict[int, list[Bucket]] = {START: [("NJ", "a", 8, 8)]}
    (series,), (breach,) = state(SUBJECT, THRESHOLD, totals(buckets, [(START, START + 1)]), {}, START + 5)
    end = withdrawal_of(series, START + 6)
    assert (end.series, end.kind, end.reason) == (breach.series, "recovered", "threshold withdrawn")
    assert end.data.value is None
    assert end.event_id != breach.event_id
    assert len(end.event_id) <= 256
