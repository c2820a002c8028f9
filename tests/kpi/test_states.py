"""A series' life: warning and critical, pending, hysteresis, masks; against a plain evaluation of minute after minute."""

from datetime import date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.kpi.domain.breach import MinuteSums, judge
from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.masks import Mask, Masks, Silence, inhibited, muted
from closedloop.kpi.domain.states import FRESH, LEVELS, Standing, Transition, walk
from closedloop.kpi.domain.thresholds import Mute, Threshold
from closedloop.kpi.domain.windows import minute_of
from kpi.test_breach import FAILURES, START, SUCCESS, Bucket, sums

SHANGHAI = ZoneInfo("Asia/Shanghai")


def live(
    threshold: Threshold,
    series: MinuteSums,
    upto: int,
    *masks: Mask,
    subject: EventIndicator = FAILURES,
    cuts: tuple[int, ...] = (),
    standing: Standing = FRESH,
) -> tuple[list[Transition], Standing]:
    """The series up to START + upto, stated in as many rounds as there are cuts."""
    found: list[Transition] = []
    edges = [0, *sorted(set(cuts) - {0, upto}), upto]
    for after, end in pairwise(edges):
        judgement = judge(subject, threshold, series, START + after, START + end)
        some, standing = walk(judgement, threshold.for_minutes, Masks(masks), standing, START + end)
        found += some
    return found, standing


def told(found: list[Transition]) -> list[tuple[int, str, str]]:
    """(minute from START, the level from then on, why)."""
    return [(t.end - START, LEVELS.get(t.rank, "ok"), t.reason) for t in found]


def shares(*percent: int) -> MinuteSums:
    """A value for each minute from START on; a window of one bucket would be too short, so windows see several."""
    return sums({minute: (share, 100, 100) for minute, share in enumerate(percent)})


def steady(*parts: tuple[int, int]) -> MinuteSums:
    """(minutes, percent) after each other."""
    return shares(*(share for minutes, share in parts for _ in range(minutes)))


LEVELLED = Threshold("5m", 20, 50, warning=10)


def test_a_warning_becomes_critical_and_comes_back_by_way_of_the_warning() -> None:
    found, standing = live(LEVELLED, steady((10, 0), (10, 15), (10, 40), (10, 15), (10, 0)), 50)
    assert told(found) == [(14, "warning", "warning"), (22, "critical", "critical"), (34, "warning", "back"), (42, "ok", "back")]
    assert [t.is_breach for t in found] == [True, True, False, False]
    assert (standing.state, standing.since) == ("ok", START + 42)


def test_a_jump_to_critical_is_said_once() -> None:
    found, standing = live(LEVELLED, sums({0: (0, 100, 100), 1: (100, 100, 100)}), 5)
    assert told(found) == [(2, "critical", "critical")]
    assert standing.state == "critical"


def test_a_value_must_stay_bad_for_a_while_and_is_pending_until_then() -> None:
    threshold = Threshold("5m", 20, 50, for_minutes=10)
    series = steady((10, 0), (30, 100))
    _, standing = live(threshold, series, 15)
    assert (standing.state, standing.since, standing.critical_since) == ("pending", START + 12, START + 12)
    found, standing = live(threshold, series, 40)
    assert told(found) == [(22, "critical", "critical")]
    assert standing.state == "critical"


def test_a_value_that_was_back_meanwhile_begins_its_time_anew() -> None:
    threshold = Threshold("5m", 20, 50, for_minutes=10)
    found, _ = live(threshold, steady((10, 0), (8, 100), (8, 0), (8, 100), (30, 0)), 60)
    assert told(found) == []


def test_a_time_runs_out_also_where_no_bucket_comes_or_goes() -> None:
    threshold = Threshold("1h", 20, 50, for_minutes=10)
    found, _ = live(threshold, sums({0: (60, 100, 100)}), 100)
    assert told(found) == [(11, "critical", "critical"), (61, "ok", "no data")]


def test_a_breach_is_left_only_when_the_value_is_better_by_the_hysteresis() -> None:
    threshold = Threshold("5m", 20, 50, hysteresis=5)
    found, _ = live(threshold, steady((10, 40), (10, 17), (10, 21), (10, 15)), 40)
    assert told(found) == [(1, "critical", "critical"), (35, "ok", "back")]
    higher = Threshold("5m", 80, 50, hysteresis=5)
    found, _ = live(higher, steady((10, 60), (10, 83), (10, 85)), 30, subject=SUCCESS)
    assert told(found) == [(1, "critical", "critical"), (25, "ok", "back")]


def test_no_data_ends_what_stood_and_what_was_pending() -> None:
    threshold = Threshold("5m", 20, 50, for_minutes=3)
    found, standing = live(threshold, steady((2, 100)), 30)
    assert told(found) == [(4, "critical", "critical"), (7, "ok", "no data")]
    assert (standing.state, standing.since) == ("no_data", START + 7)


# --- masks ---


def test_no_breach_begins_under_a_mask_and_one_that_still_holds_begins_when_it_ends() -> None:
    series = steady((10, 0), (30, 100))
    mask = Mask(START + 5, START + 20, "silenced")
    _, standing = live(Threshold("5m", 20, 50), series, 15, mask)
    assert (standing.state, standing.suppressed_by) == ("pending", "silenced")
    found, standing = live(Threshold("5m", 20, 50), series, 40, mask)
    assert told(found) == [(20, "critical", "critical")]
    assert standing.suppressed_by is None


def test_a_breach_that_stands_goes_on_under_a_mask_and_may_end_there() -> None:
    found, _ = live(Threshold("5m", 20, 50), steady((10, 100), (20, 0)), 30, Mask(START + 5, START + 100, "muted"))
    assert told(found) == [(1, "critical", "critical"), (14, "ok", "back")]


def test_under_a_parents_warning_a_child_may_still_become_critical() -> None:
    parent = inhibited([(START + 5, 1)])
    found, standing = live(LEVELLED, steady((10, 0), (10, 15), (10, 40)), 30, *parent)
    assert told(found) == [(22, "critical", "critical")]
    assert standing.suppressed_by is None  # which a mask of warnings does not hold back
    found, standing = live(LEVELLED, steady((10, 0), (10, 15), (10, 40)), 30, *inhibited([(START + 5, 2)]))
    assert told(found) == []
    assert standing.suppressed_by == "inhibited"


def test_a_parent_that_never_stood_holds_nothing_back() -> None:
    assert inhibited([]) == []


def test_a_child_begins_where_its_parent_is_back() -> None:
    steps = [(START + 5, 2), (START + 25, 0), (START + 70, 1), (START + 80, 0)]
    assert [(m.start - START, m.end - START, m.rank) for m in inhibited(steps)] == [(5, 25, 2), (70, 80, 1)]
    found, _ = live(Threshold("5m", 20, 50), steady((10, 0), (30, 100)), 40, *inhibited(steps))
    assert told(found) == [(25, "critical", "critical")]


@pytest.mark.parametrize(
    ("mute", "begins", "ends"),
    [
        (Mute(frozenset({5, 6}), 0, 24 * 60), "2026-11-21T00:00+08:00", "2026-11-22T00:00+08:00"),  # a Saturday
        (Mute(frozenset({4}), 22 * 60, 6 * 60), "2026-11-20T22:00+08:00", "2026-11-21T06:00+08:00"),  # over Friday's midnight
        (
            Mute(frozenset(range(7)), 0, 24 * 60, date(2026, 11, 21), date(2026, 11, 22)),
            "2026-11-21T00:00+08:00",
            "2026-11-22T00:00+08:00",
        ),
    ],
)
def test_a_calendar_is_the_operators(mute: Mute, begins: str, ends: str) -> None:
    start, end = (minute_of(datetime.fromisoformat(text)) for text in (begins, ends))
    masks = Masks(muted([mute], SHANGHAI, start - 600, start + 3 * 24 * 60))
    assert masks.at(start - 1) is None
    assert masks.next_edge(start - 1) == start
    for minute in (start, end - 1):
        found = masks.at(minute)
        assert found is not None
        assert found.reason == "muted"
    # a round that begins in the middle of it sees it too
    assert Masks(muted([mute], SHANGHAI, end - 2, end - 1)).at(end - 1) is not None


def test_a_calendar_keeps_to_the_clock_when_summer_time_begins() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    noon = minute_of(datetime.fromisoformat("2026-03-28T12:00+01:00"))
    masks = muted([Mute(frozenset(range(7)), 2 * 60, 6 * 60)], berlin, noon, noon + 24 * 60)
    assert masks[0].end == minute_of(datetime.fromisoformat("2026-03-29T06:00+02:00"))


def test_a_silence_means_the_series_that_have_its_dimensions() -> None:
    silence = Silence("order_failure_rate", {"region": "NJ"}, 0, 1)
    assert silence.matches("order_failure_rate", {"region": "NJ", "channel": "web"})
    assert not silence.matches("order_failure_rate", {"channel": "web"})
    assert not silence.matches("order_failure_rate", {"region": "SZ"})
    assert not silence.matches("another", {"region": "NJ"})
    assert Silence(None, {"region": "NJ"}, 0, 1).matches("another", {"region": "NJ"})


masks = st.lists(
    st.builds(
        lambda start, length, rank: Mask(START + start, START + start + length, "silenced", rank),
        st.integers(-20, 180),
        st.integers(0, 60),
        st.sampled_from([1, 2]),
    ),
    max_size=4,
)


@given(masks, st.integers(-30, 300))
def test_masks_together_forbid_what_the_worst_of_them_does(several: list[Mask], minute: int) -> None:
    found = Masks(several).at(START + minute)
    ranks = [mask.rank for mask in several if mask.start <= START + minute < mask.end]
    assert (found.rank if found else 0) == max(ranks, default=0)


def plainly(
    subject: EventIndicator, threshold: Threshold, buckets: dict[int, Bucket], upto: int, several: list[Mask]
) -> list[tuple[int, int]]:
    """(minute, level) by the rules as they are written, a minute at a time."""
    found: list[tuple[int, int]] = []
    level = 0
    clocks: dict[int, int | None] = {1: None, 2: None}
    limits = {1: threshold.warning, 2: threshold.critical}
    sign = 1 if subject.better == "lower" else -1
    for end in range(1, upto + 1):
        inside = [buckets[minute] for minute in buckets if end - threshold.window_minutes <= minute < end]
        numerator, denominator, sample = (sum(part) for part in zip(*inside, strict=True)) if inside else (0.0, 0.0, 0)
        value = subject.value(numerator, denominator)
        before = level
        if value is None or sample < threshold.minimum_sample:
            level, clocks = 0, {1: None, 2: None}
        else:
            for rank, limit in limits.items():
                bad = limit is not None and sign * value > sign * limit
                worse = any(sign * value > sign * other for at, other in limits.items() if at >= rank and other is not None)
                clocks[rank] = (clocks[rank] if clocks[rank] is not None else end) if bad or worse else None
            holds = [r for r, limit in limits.items() if limit is not None and sign * value > sign * limit - threshold.hysteresis]
            level = min(level, max(holds, default=0))
            for rank, since in clocks.items():
                masked = any(m.start - START <= end < m.end - START and m.rank >= rank for m in several)
                if since is not None and end - since >= threshold.for_minutes and not masked:
                    level = max(level, rank)
        if level != before:
            found.append((end, level))
    return found


@st.composite
def buckets(draw: st.DrawFn) -> dict[int, Bucket]:
    def bucket() -> Bucket:
        sample = draw(st.integers(1, 6))
        return float(draw(st.integers(0, sample))), float(sample), sample

    return {minute: bucket() for minute in draw(st.sets(st.integers(0, 150), max_size=60))}


thresholds = st.one_of(
    st.builds(
        Threshold,
        st.sampled_from(["5m", "1h"]),
        st.sampled_from([50.0, 75.0]),
        st.integers(1, 10),
        warning=st.sampled_from([None, 20.0, 40.0]),
        hysteresis=st.sampled_from([0.0, 10.0, 30.0]),
        for_minutes=st.sampled_from([0, 1, 7, 30]),
    )
)


@settings(deadline=None)
@given(thresholds, buckets(), masks)
def test_it_is_what_a_plain_evaluation_of_each_minute_says(
    threshold: Threshold, series: dict[int, Bucket], several: list[Mask]
) -> None:
    found, _ = live(threshold, sums(series), 230, *several)
    assert [(t.end - START, t.rank) for t in found] == plainly(FAILURES, threshold, series, 230, several)


@settings(deadline=None)
@given(thresholds, buckets(), masks, st.lists(st.integers(1, 229), max_size=8))
def test_it_does_not_matter_where_the_span_is_cut(
    threshold: Threshold, series: dict[int, Bucket], several: list[Mask], cuts: list[int]
) -> None:
    whole = live(threshold, sums(series), 230, *several)
    assert live(threshold, sums(series), 230, *several, cuts=tuple(cuts)) == whole


# --- no flapping ---


def hovering(days: int) -> MinuteSums:
    """A share that hovers at 15 %: 40 orders a minute, the true rate strolling half a percent around it."""
    random = np.random.default_rng(20261120)
    minutes = np.arange(days * 24 * 60, dtype=np.int64) + START
    rate = 0.15 + 0.005 * np.sin(np.arange(len(minutes)) / 90)
    sample = random.poisson(40, len(minutes)).astype(np.float64)
    return MinuteSums(minutes, random.binomial(sample.astype(np.int64), rate).astype(np.float64), sample, sample)


def test_a_series_that_hovers_at_its_threshold_does_not_flap() -> None:
    series = hovering(days=2)
    bare, _ = live(Threshold("1h", 15, 50), series, 2 * 24 * 60)
    calm, _ = live(Threshold("1h", 15, 50, hysteresis=1.5, for_minutes=15), series, 2 * 24 * 60)
    assert len(bare) > 100
    assert len(calm) <= 10
    # a time that it must last helps; a hysteresis of two standard errors does the most
    lasting, _ = live(Threshold("1h", 15, 50, for_minutes=15), series, 2 * 24 * 60)
    assert len(calm) < len(lasting) < len(bare) / 2
