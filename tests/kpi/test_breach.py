"""The rule of a breach, against a plain evaluation of minute after minute."""

import sys
from dataclasses import replace
from itertools import pairwise
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.kpi.domain.breach import MinuteSums, judge
from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.masks import Masks
from closedloop.kpi.domain.states import FRESH, Evidence, Standing, Transition, walk
from closedloop.kpi.domain.thresholds import Threshold
from kpi.shipped import shipped

START = 29_700_000  # a minute in 2026


FAILURES = shipped("order_failure_rate")  # a share, the lower the better
SUCCESS = shipped("top_up_success_rate")  # a share, the higher the better
MEAN = shipped("mean_resumption_time")
COUNT = shipped("complaints_registered")

Bucket = tuple[float, float, int]


def sums(buckets: dict[int, Bucket], subject: EventIndicator = FAILURES) -> MinuteSums:
    """minute from START → (numerator, denominator, sample)."""
    minutes = sorted(buckets)
    columns = np.array([buckets[minute] for minute in minutes], dtype=np.float64).reshape(-1, 3)
    denominator = None if subject.denominator is None else columns[:, 1]
    return MinuteSums(np.array(minutes, dtype=np.int64) + START, columns[:, 0], denominator, columns[:, 2])


def transitions(
    subject: EventIndicator, threshold: Threshold, series: MinuteSums, after: int, upto: int, breached: bool
) -> list[Transition]:
    """What changes at the minutes in (after, upto] by a threshold of one level."""
    standing = Standing("critical", rank=2) if breached else FRESH
    return walk(judge(subject, threshold, series, after, upto), threshold.for_minutes, Masks(), standing, upto)[0]


def said(found: list[Transition]) -> list[tuple[int, str]]:
    return [(transition.end - START, transition.reason) for transition in found]


def test_a_breach_begins_when_the_value_is_worse_and_ends_when_it_is_back() -> None:
    threshold = Threshold("5m", 20, 5)
    series = sums({0: (0, 10, 10), 1: (9, 10, 10), 2: (0, 30, 30), 3: (0, 10, 10)})
    found = transitions(FAILURES, threshold, series, START, START + 4, breached=False)
    assert said(found) == [(2, "critical"), (3, "back")]
    begin, end = found
    assert begin == Transition(START + 2, 0, 2, "critical", Evidence(45.0, 9.0, 20.0, 20))
    assert end.evidence.value == 18.0
    assert not end.is_breach


def test_exactly_at_the_threshold_is_no_breach() -> None:
    assert transitions(FAILURES, Threshold("5m", 20, 5), sums({0: (2, 10, 10)}), START, START + 4, breached=False) == []


def test_worse_is_below_where_higher_is_better() -> None:
    series = sums({0: (8, 10, 10)})
    assert said(transitions(SUCCESS, Threshold("5m", 90, 5), series, START, START + 3, breached=False)) == [(1, "critical")]
    assert transitions(SUCCESS, Threshold("5m", 80, 5), series, START, START + 3, breached=False) == []


def test_too_few_events_say_nothing() -> None:
    series = sums({0: (4, 4, 4), 1: (1, 1, 1)})
    assert said(transitions(FAILURES, Threshold("5m", 20, 5), series, START, START + 3, breached=False)) == [(2, "critical")]
    assert transitions(FAILURES, Threshold("5m", 20, 6), series, START, START + 3, breached=False) == []


def test_a_breach_ends_when_events_stop() -> None:
    found = transitions(FAILURES, Threshold("5m", 20, 5), sums({0: (10, 10, 10), 1: (1, 1, 1)}), START, START + 60, breached=False)
    assert said(found) == [(1, "critical"), (6, "no data")]
    assert found[1].evidence.value is None
    assert found[1].evidence.sample == 1


def test_a_ratio_without_denominator_says_nothing() -> None:
    assert transitions(FAILURES, Threshold("5m", 20, 1), sums({0: (3, 0, 3)}), START, START + 3, breached=False) == []


def test_late_events_are_seen_at_the_next_minute_not_at_those_already_stated() -> None:
    quiet = sums({0: (0, 10, 10)})
    assert transitions(FAILURES, Threshold("1h", 20, 5), quiet, START, START + 5, breached=False) == []
    with_late = sums({0: (0, 10, 10), 2: (10, 10, 10)})
    assert said(transitions(FAILURES, Threshold("1h", 20, 5), with_late, START + 5, START + 9, breached=False)) == [(6, "critical")]


def test_a_count_and_a_mean_can_breach_too() -> None:
    assert said(transitions(COUNT, Threshold("5m", 9, 1), sums({0: (10, 0, 10)}, COUNT), START, START + 2, False)) == [
        (1, "critical")
    ]
    assert said(transitions(MEAN, Threshold("5m", 60, 2), sums({0: (130, 2, 2)}, MEAN), START, START + 2, False)) == [
        (1, "critical")
    ]


def plainly(
    subject: EventIndicator, threshold: Threshold, buckets: dict[int, Bucket], after: int, upto: int, breached: bool
) -> list[tuple[int, str]]:
    """The rule as it is written, a minute at a time."""
    limit = threshold.critical
    assert limit is not None
    found = []
    for end in range(after + 1, upto + 1):
        inside = [buckets[minute] for minute in buckets if end - threshold.window_minutes <= minute < end]
        numerator, denominator, sample = (sum(part) for part in zip(*inside, strict=True)) if inside else (0.0, 0.0, 0)
        value = subject.value(numerator, None if subject.denominator is None else denominator)  # a count is its numerator
        known = value is not None and sample >= threshold.minimum_sample
        worse = value is not None and known and (value > limit if subject.better == "lower" else value < limit)
        if worse != breached:
            found.append((end, "critical" if worse else "back" if known else "no data"))
            breached = worse
    return found


@st.composite
def buckets(draw: st.DrawFn) -> dict[int, Bucket]:
    def bucket() -> Bucket:
        sample = draw(st.integers(1, 6))
        return float(draw(st.integers(0, sample))), float(sample), sample

    return {minute: bucket() for minute in draw(st.sets(st.integers(0, 150), max_size=60))}


thresholds = st.builds(Threshold, st.sampled_from(["5m", "1h"]), st.sampled_from([0.0, 20.0, 50.0, 99.0]), st.integers(1, 30))


@settings(deadline=None)
@given(st.sampled_from([FAILURES, SUCCESS, COUNT]), thresholds, buckets(), st.integers(-5, 40), st.booleans())
def test_it_is_what_a_plain_evaluation_of_each_minute_says(
    subject: EventIndicator, threshold: Threshold, series: dict[int, Bucket], after: int, breached: bool
) -> None:
    found = transitions(subject, threshold, sums(series, subject), START + after, START + 200, breached)
    assert said(found) == plainly(subject, threshold, series, after, 200, breached)


@settings(deadline=None)
@given(
    thresholds,
    st.dictionaries(st.integers(0, 150), st.tuples(st.floats(0, 1e9), st.floats(0, 1e4), st.integers(0, 20)), max_size=60),
    st.lists(st.integers(0, 220), max_size=8),
)
def test_it_does_not_matter_where_the_span_is_cut(threshold: Threshold, series: dict[int, Bucket], cuts: list[int]) -> None:
    threshold = replace(threshold, critical=threshold.critical * 100)
    whole = transitions(MEAN, threshold, sums(series), START, START + 220, breached=False)
    parts: list[Transition] = []
    state = False
    edges = [0, *sorted(set(cuts) - {0, 220}), 220]
    for after, upto in pairwise(edges):
        # only the buckets that the span needs, as the service reads them
        near = {minute: bucket for minute, bucket in series.items() if after + 1 - threshold.window_minutes <= minute < upto}
        parts += transitions(MEAN, threshold, sums(near), START + after, START + upto, state)
        state = parts[-1].is_breach if parts else False
    assert parts == whole


def lines_run(act: Any) -> int:
    """How many lines of our code it takes."""
    count = 0

    def tracing(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if "closedloop" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return tracing

    before = sys.gettrace()
    sys.settrace(tracing)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def test_the_work_grows_with_the_changes_and_not_with_the_minutes_between() -> None:
    def work(days: int, swings_a_day: int) -> int:
        minutes = np.arange(days * 24 * 60, dtype=np.int64) + START
        sample = np.full(minutes.shape, 20.0)
        is_bad = (minutes - START) % (24 * 60) < swings_a_day * 60
        is_bad &= (minutes - START) // 30 % 2 == 1
        series = MinuteSums(minutes, np.where(is_bad, 20.0, 0.0), sample, sample)
        threshold = Threshold("5m", 50, 50)
        found = transitions(FAILURES, threshold, series, START, int(minutes[-1]) + 1, False)
        assert len(found) == 2 * days * swings_a_day
        return lines_run(lambda: transitions(FAILURES, threshold, series, START, int(minutes[-1]) + 1, False))

    quiet, ten_times_as_long = work(3, 0), work(30, 0)
    assert ten_times_as_long == quiet
    few, twice, ten_times = work(3, 4), work(3, 8), work(30, 4)
    assert twice - few == few - quiet
    assert ten_times - quiet == 10 * (few - quiet)


@pytest.mark.parametrize("after", [0, 10])
def test_a_series_without_buckets_says_nothing_but_ends_a_breach(after: int) -> None:
    empty = sums({})
    assert transitions(FAILURES, Threshold("1h", 20, 5), empty, START + after, START + 100, breached=False) == []
    assert said(transitions(FAILURES, Threshold("1h", 20, 5), empty, START + after, START + 100, breached=True)) == [
        (after + 1, "no data")
    ]
