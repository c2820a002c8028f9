"""Which complaints count: each customer once per 24 hours and subject."""

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.ticketing.domain.distinct import Complaint, arrival, counts, distinct

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def complaint(hours: float, customer: str = "ann", event_id: str = "") -> Complaint:
    return Complaint(NOON + timedelta(hours=hours), event_id or f"e{hours}", customer)


# Times on a coarse grid and few customers: equal times, exact days and long chains are then common.
complaints = st.builds(
    lambda hours, customer, number: Complaint(NOON + timedelta(hours=hours), f"e{number}", customer),
    st.integers(0, 20).map(lambda n: n * 6),
    st.sampled_from(["ann", "bob", "cai"]),
    st.integers(0, 10**6),
)
histories = st.lists(complaints, unique_by=lambda c: c.event_id, max_size=25)


def test_a_customer_who_complains_again_within_a_day_counts_once() -> None:
    first, again = complaint(0), complaint(23.9)
    assert distinct([again, first]) == [first]


def test_a_customer_who_complains_again_a_day_later_counts_again() -> None:
    first, next_day = complaint(0), complaint(24)
    assert distinct([first, next_day]) == [first, next_day]


def test_a_customer_who_complains_every_evening_is_one_customer() -> None:
    evenings = [complaint(20 * n) for n in range(10)]
    assert distinct(evenings) == evenings[:1]


def test_a_day_is_24_hours_where_clocks_change() -> None:
    new_york = ZoneInfo("America/New_York")  # clocks were set back an hour on 1 November
    first = Complaint(datetime(2026, 10, 31, 12, tzinfo=new_york), "a", "ann")
    again = Complaint(datetime(2026, 11, 1, 11, 30, tzinfo=new_york), "b", "ann")
    assert distinct([first, again]) == [first, again]


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        Complaint(datetime(2026, 6, 1, 12), "a", "ann")  # noqa: DTZ001


def test_customers_do_not_touch_one_another() -> None:
    ann, bob = complaint(0, "ann"), complaint(1, "bob")
    assert distinct([ann, bob]) == [ann, bob]


def test_of_two_complaints_at_one_time_the_lesser_event_id_counts() -> None:
    a, b = complaint(0, event_id="a"), complaint(0, event_id="b")
    assert distinct([b, a]) == [a]


def test_a_late_complaint_takes_the_count_from_the_next_one() -> None:
    assert arrival(complaint(0), None, complaint(5)) == (True, True)


def test_a_late_complaint_takes_nothing_where_the_next_one_did_not_count() -> None:
    assert arrival(complaint(2), complaint(0), complaint(5)) == (False, False)


def test_a_late_complaint_may_not_count_and_still_take_a_count() -> None:
    assert arrival(complaint(20), complaint(0), complaint(30)) == (False, True)


@given(histories, st.randoms())
def test_the_order_of_arrival_does_not_matter(history: list[Complaint], random: Random) -> None:
    shuffled = random.sample(history, len(history))
    assert distinct(shuffled) == distinct(history)


@given(histories)
def test_counting_as_complaints_arrive_equals_counting_them_all(history: list[Complaint]) -> None:
    known: list[Complaint] = []
    counted: set[Complaint] = set()
    for new in history:  # in any order: the times are random
        of_customer = sorted(c for c in known if c.customer_id == new.customer_id)
        preceding = max((c for c in of_customer if c < new), default=None)
        following = min((c for c in of_customer if c > new), default=None)
        change = arrival(new, preceding, following)
        if change.counts:
            counted.add(new)
        if change.uncounts_following:
            assert following is not None
            counted.remove(following)
        known.append(new)
    assert counted == set(distinct(history))


@given(histories)
def test_it_is_the_rule_as_written(history: list[Complaint]) -> None:
    def has_earlier_within_a_day(c: Complaint) -> bool:
        return any(
            e.customer_id == c.customer_id and (e.time, e.event_id) < (c.time, c.event_id) and c.time - e.time < timedelta(hours=24)
            for e in history
        )

    assert set(distinct(history)) == {c for c in history if not has_earlier_within_a_day(c)}


@given(complaints)
def test_the_first_complaint_counts(first: Complaint) -> None:
    assert counts(first, None)
