"""Which ticket first."""

from hypothesis import given
from hypothesis import strategies as st

from closedloop.ticketing.domain.priority import DIFFICULTIES, Difficulty, priority, urgency_of_breach, urgency_of_excess

urgencies = st.integers(0, 3)
customers = st.integers(0, 10**6)
difficulties = st.sampled_from([None, *DIFFICULTIES])


@given(urgencies, customers, difficulties)
def test_priority_is_1_to_4(urgency: int, touched: int, difficulty: Difficulty | None) -> None:
    assert 1 <= priority(urgency, touched, difficulty) <= 4


@given(urgencies, customers, customers, difficulties)
def test_more_customers_never_come_later(urgency: int, some: int, more: int, difficulty: Difficulty | None) -> None:
    some, more = sorted((some, more))
    assert priority(urgency, more, difficulty) <= priority(urgency, some, difficulty)


@given(urgencies, urgencies, customers, difficulties)
def test_what_is_more_urgent_never_comes_later(less: int, more: int, touched: int, difficulty: Difficulty | None) -> None:
    less, more = sorted((less, more))
    assert priority(more, touched, difficulty) <= priority(less, touched, difficulty)


@given(urgencies, customers)
def test_what_is_easily_improved_comes_before_what_is_hard(urgency: int, touched: int) -> None:
    assert priority(urgency, touched, "easy") <= priority(urgency, touched, "medium") <= priority(urgency, touched, "hard")
    assert priority(urgency, touched, None) == priority(urgency, touched, "medium")


def test_the_ends_of_the_scale_are_reached() -> None:
    assert priority(3, 1000, "medium") == 1
    assert priority(0, 1, None) == 4


def test_a_burst_is_the_more_urgent_the_more_it_exceeds() -> None:
    assert [urgency_of_excess(n, 10) for n in (10, 15, 30, 100)] == [0, 1, 2, 3]
    assert urgency_of_excess(5, 0) == 3


def test_a_breach_is_the_more_urgent_the_farther_it_is_off() -> None:
    assert [urgency_of_breach(value, 0.9) for value in (None, 0.89, 0.7, 0.4)] == [1, 1, 2, 3]
