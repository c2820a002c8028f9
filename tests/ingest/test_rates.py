"""A client's rate: a burst, then a steady flow; others are not touched."""

from hypothesis import given
from hypothesis import strategies as st

from closedloop.ingest.domain.rate import MAX_CLIENTS, Rates


def test_a_burst_is_let_in_and_the_debt_is_waited_out() -> None:
    rates = Rates(per_second=100, burst=50)
    assert rates.wait("a", 0) == 0
    rates.charge("a", 250, 0)  # one request may go over
    assert 2.0 <= rates.wait("a", 0) <= 2.1
    assert rates.wait("a", 1.9) > 0
    assert rates.wait("a", 2.1) == 0
    assert rates.wait("b", 0) == 0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 80)), min_size=5, max_size=100))
def test_in_the_long_run_nobody_sends_more_than_the_rate(requests: list[tuple[float, int]]) -> None:
    rates = Rates(per_second=20, burst=40)
    now, taken, largest = 0.0, 0, 0
    for pause, events in requests:
        now += pause
        if rates.wait("a", now) == 0:
            rates.charge("a", events, now)
            taken += events
            largest = max(largest, events)
    assert taken <= 40 + 20 * now + largest


def test_buckets_of_many_clients_stay_few() -> None:
    rates = Rates(per_second=1, burst=1)
    for n in range(MAX_CLIENTS + 5):
        rates.charge(str(n), 1, 0)
    assert len(rates._buckets) == MAX_CLIENTS
