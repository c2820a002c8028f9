"""A hot subject: so many distinct customers in 24 hours, minute by minute."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from closedloop.ticketing.domain.hot import HOT_WINDOW, MINUTE, HotMinute, first_hot_minute, minute_after

START = datetime(2026, 6, 1, tzinfo=UTC)
FAR = START + timedelta(days=100)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def fire(
    complaints: list[tuple[datetime, str]], threshold: int = 3, after: datetime = START, until: datetime = FAR
) -> HotMinute | None:
    return first_hot_minute(complaints, threshold, after=after, until=until)


def test_it_fires_in_the_minute_of_the_customer_who_makes_it_hot() -> None:
    complaints = [(at(1), "a"), (at(2), "b"), (at(3) + timedelta(seconds=20), "c"), (at(4), "d")]
    assert fire(complaints) == HotMinute(at(3) + MINUTE, 3)


def test_a_customer_who_complains_often_is_one() -> None:
    assert fire([(at(1), "a"), (at(2), "a"), (at(3), "a"), (at(4), "b")]) is None


def test_customers_of_yesterday_do_not_count() -> None:
    assert fire([(at(1), "a"), (at(2), "b"), (at(25.1), "c")]) is None
    assert fire([(at(1), "a"), (at(2), "b"), (at(24.9), "c")]) is not None


def test_a_customer_of_yesterday_who_complains_again_counts() -> None:
    assert fire([(at(1), "a"), (at(20), "b"), (at(26), "a"), (at(27), "c")]) == HotMinute(at(27) + MINUTE, 3)


def test_what_is_stated_already_is_not_stated_again() -> None:
    complaints = [(at(1), "a"), (at(2), "b"), (at(3), "c"), (at(5), "d")]
    assert fire(complaints, after=at(4)) == HotMinute(at(5) + MINUTE, 4)
    assert fire(complaints, until=at(3)) is None


histories = st.lists(st.tuples(st.integers(0, 60 * 60), st.sampled_from("abcdef")), max_size=40).map(
    lambda pairs: sorted((START + timedelta(minutes=m), who) for m, who in pairs)
)


@given(histories, st.integers(2, 5), st.integers(0, 60 * 60))
def test_it_is_the_rule_as_written(history: list[tuple[datetime, str]], threshold: int, start: int) -> None:
    after = START + timedelta(minutes=start)

    def customers(minute: datetime) -> int:
        return len({who for time, who in history if minute - HOT_WINDOW <= time < minute})

    minutes = sorted({minute_after(time) for time, _ in history})
    expected = next((HotMinute(m, customers(m)) for m in minutes if m > after and customers(m) >= threshold), None)
    known = [one for one in history if one[0] >= after - HOT_WINDOW]
    assert fire(known, threshold, after=after) == expected
