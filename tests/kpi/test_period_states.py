"""How an indicator stands by its levels of a period: on which it rests, when something is said; against a plain evaluation."""

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.kpi.domain.catalogue import Indicator
from closedloop.kpi.domain.masks import Mask, Masks
from closedloop.kpi.domain.period_states import PeriodAmount, last_ends, state, window_of
from closedloop.kpi.domain.report import MINIMUM_EVENTS, Amount, is_enough
from closedloop.kpi.domain.statement import Series, Statement
from closedloop.kpi.domain.windows import Window, minute_of
from kpi.shipped import SHIPPED
from kpi.test_reporting import indicator

SHANGHAI = ZoneInfo("Asia/Shanghai")
WAITING = indicator(unit="min", better="lower", target=10, warning=15, critical=20)
MARCH = minute_of(datetime(2025, 3, 1, tzinfo=SHANGHAI))
APRIL = minute_of(datetime(2025, 4, 1, tzinfo=SHANGHAI))
Value = float | None
Round = tuple[int, tuple[Value, Value]]
"""When somebody looks, in minutes after April began, and the values of February and March that are known then."""


def amounts(two: tuple[Value, Value]) -> list[PeriodAmount]:
    found = [Amount(value, None, None, 0 if value is None else 1) for value in two]
    return [PeriodAmount(MARCH, found[0]), PeriodAmount(APRIL, found[1])]


def live(rounds: list[Round], *masks: Mask, subject: Indicator = WAITING) -> tuple[list[Statement], Series | None]:
    """All that is said of one series in these rounds, and how it stands then."""
    known: dict[str, Series] = {}
    made: list[Statement] = []
    for at, two in rounds:
        moved, some = state(subject, SHANGHAI, (MARCH, APRIL), {(): amounts(two)}, known, APRIL + at, lambda _: Masks(masks))
        known |= {series.key: series for series in moved}
        made += some
    return made, known.get(subject.id)


def told(made: list[Statement]) -> list[tuple[int, str, str, Value, float]]:
    """(minutes after April began, what, why, the value, what was crossed)."""
    return [(s.end - APRIL, s.kind, s.reason, s.data.value, s.data.threshold) for s in made]


@pytest.mark.parametrize(
    ("window", "at", "before", "last"),
    [
        ("month", "2025-03-31T23:59+08:00", "2025-02-01", "2025-03-01"),
        ("month", "2025-04-01T00:00+08:00", "2025-03-01", "2025-04-01"),
        ("month", "2025-01-15T00:00+08:00", "2024-12-01", "2025-01-01"),
        ("quarter", "2025-05-15T00:00+08:00", "2025-01-01", "2025-04-01"),
        ("year", "2025-12-31T23:59+08:00", "2024-01-01", "2025-01-01"),
    ],
)
def test_the_last_two_periods_that_are_over_are_the_operators(window: Window, at: str, before: str, last: str) -> None:
    ends = last_ends(window, minute_of(datetime.fromisoformat(at)), SHANGHAI)
    assert ends == tuple(minute_of(datetime.fromisoformat(f"{day}T00:00+08:00")) for day in (before, last))


def test_levels_are_of_the_month_or_of_a_longer_period_that_is_reported() -> None:
    windows = {granularity: window_of(indicator(granularity=granularity)) for granularity in ("day", "month", "quarter", "year")}
    assert windows == {"day": "month", "month": "month", "quarter": "quarter", "year": "year"}


def test_a_figure_is_judged_when_it_is_known_and_of_its_period() -> None:
    made, series = live([(10, (None, None)), (500, (None, 22.0)), (600, (None, 22.0))])
    assert told(made) == [(500, "breached", "critical", 22.0, 20.0)]
    data = made[0].data
    assert (data.window, data.window_start, data.window_end) == ("month", "2025-02-28T16:00:00Z", "2025-03-31T16:00:00Z")
    assert (data.numerator, data.denominator, data.sample, data.level) == (22.0, 1.0, 1, "critical")
    assert series is not None
    assert (series.standing.state, series.standing.since, series.stated_until) == ("critical", APRIL + 500, APRIL + 600)


def test_a_month_that_nobody_has_reported_yet_leaves_what_the_month_before_said() -> None:
    made, series = live([(10, (16.0, None)), (500, (16.0, 8.0))])
    assert told(made) == [(10, "breached", "warning", 16.0, 15.0), (500, "recovered", "back", 8.0, 15.0)]
    assert [s.data.window_end for s in made] == ["2025-02-28T16:00:00Z", "2025-03-31T16:00:00Z"]
    assert series is not None and series.standing.evidence is not None
    assert series.standing.evidence.until == APRIL


def test_what_is_not_there_when_the_next_month_is_over_too_is_not_known_any_more() -> None:
    made, series = live([(10, (16.0, None)), (500, (None, None)), (501, (None, 16.0))])
    assert told(made) == [
        (10, "breached", "warning", 16.0, 15.0),
        (500, "recovered", "no data", None, 15.0),
        (501, "breached", "warning", 16.0, 15.0),
    ]
    assert series is not None
    assert series.standing.state == "warning"


def test_a_correction_of_the_month_before_changes_nothing_once_the_last_is_known() -> None:
    made, _ = live([(10, (8.0, 9.0)), (20, (30.0, 9.0))])
    assert made == []


def test_a_level_that_is_left_for_a_milder_one_is_a_recovery_that_far() -> None:
    made, _ = live([(10, (None, 22.0)), (20, (None, 16.0))])
    assert told(made)[1] == (20, "recovered", "back", 16.0, 20.0)
    assert made[1].data.level == "warning"


def test_a_critical_level_that_the_entry_no_longer_has_ends_by_the_one_that_is_left() -> None:
    moved, _ = state(WAITING, SHANGHAI, (MARCH, APRIL), {(): amounts((None, 22.0))}, {}, APRIL + 1)
    milder = indicator(unit="min", better="lower", target=10, warning=25)
    _, made = state(milder, SHANGHAI, (MARCH, APRIL), {(): amounts((None, 22.0))}, {s.key: s for s in moved}, APRIL + 2)
    assert told(made) == [(2, "recovered", "back", 22.0, 25.0)]


def test_what_a_mask_held_back_begins_at_its_end_by_the_figure_of_then() -> None:
    silence = Mask(APRIL + 5, APRIL + 20, "silenced")
    made, series = live([(10, (None, 22.0)), (30, (None, 8.0))], silence)
    assert told(made) == [(20, "breached", "critical", 22.0, 20.0), (30, "recovered", "back", 8.0, 20.0)]
    _, series = live([(10, (None, 22.0))], silence)
    assert series is not None
    assert (series.standing.state, series.standing.suppressed_by) == ("pending", "silenced")


def test_a_group_that_is_reported_no_more_ends_and_one_never_seen_does_not_begin() -> None:
    nj = (("region", "NJ"),)
    moved, _ = state(WAITING, SHANGHAI, (MARCH, APRIL), {nj: amounts((None, 22.0))}, {}, APRIL + 1)
    assert [series.key for series in moved] == ["hall_waiting_time?region=NJ"]
    moved, made = state(WAITING, SHANGHAI, (MARCH, APRIL), {(): amounts((None, None))}, {s.key: s for s in moved}, APRIL + 2)
    assert [series.key for series in moved] == ["hall_waiting_time?region=NJ"]
    assert told(made) == [(2, "recovered", "no data", None, 20.0)]


def test_a_minute_that_was_stated_is_not_stated_again() -> None:
    made, _ = live([(10, (None, 22.0)), (10, (None, 8.0)), (9, (None, 8.0))])
    assert len(made) == 1


def test_few_events_say_nothing_and_one_reported_figure_does() -> None:
    from_events = SHIPPED.counted("order_failure_rate")
    assert from_events is not None
    assert not is_enough(from_events, Amount(100.0, 1.0, 1.0, MINIMUM_EVENTS - 1))
    assert is_enough(from_events, Amount(100.0, 1.0, 1.0, MINIMUM_EVENTS))
    assert is_enough(WAITING, Amount(22.0, 22.0, 1.0, 1))
    assert not is_enough(WAITING, Amount(0.0, None, None, 0)), "a count of what never was"


VALUES = st.sampled_from([None, 8.0, 16.0, 22.0])
ROUNDS = st.dictionaries(st.integers(1, 120), st.tuples(VALUES, VALUES), min_size=1, max_size=8).map(lambda d: sorted(d.items()))
SILENCES = st.lists(
    st.tuples(st.integers(-10, 120), st.integers(0, 60)).map(lambda s: Mask(APRIL + s[0], APRIL + s[0] + s[1], "silenced")),
    max_size=3,
)


def plainly(rounds: list[Round], silences: list[Mask]) -> list[tuple[int, int]]:
    """(minute, level) by the rules as they are written, a minute at a time."""
    seen, level, bad, found = False, 0, 0, []
    at_minute = dict(rounds)
    for minute in range(rounds[0][0], rounds[-1][0] + 1):
        if minute in at_minute:
            value = next((v for v in reversed(at_minute[minute]) if v is not None), None)
            seen = seen or value is not None
            bad = 0 if value is None else (value > 15) + (value > 20)
        before = level
        level = min(level, bad)
        if seen and not any(s.start - APRIL <= minute < s.end - APRIL for s in silences):
            level = bad
        if level != before:
            found.append((minute, level))
    return found


@settings(deadline=None)
@given(ROUNDS, SILENCES)
def test_it_is_what_a_plain_evaluation_of_each_minute_says(rounds: list[Round], silences: list[Mask]) -> None:
    made, series = live(rounds, *silences)
    assert [(s.end - APRIL, s.rank) for s in made] == plainly(rounds, silences)
    ids = [s.event_id for s in made]
    assert len(set(ids)) == len(ids)
    assert (0 if series is None else series.standing.rank) == (made[-1].rank if made else 0)
    for before, after in pairwise([0, *(s.rank for s in made)]):
        assert before != after


@settings(deadline=None)
@given(ROUNDS, SILENCES, st.sets(st.integers(1, 119), max_size=10))
def test_looking_more_often_says_nothing_else(rounds: list[Round], silences: list[Mask], more: set[int]) -> None:
    last = rounds[-1][0]
    between = {at: next(two for when, two in reversed(rounds) if when <= at) for at in more if rounds[0][0] <= at <= last}
    often = sorted((between | dict(rounds)).items())
    assert live(often, *silences) == live(rounds, *silences)
