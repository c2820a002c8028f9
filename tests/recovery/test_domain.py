"""The rules alone: who calls, what a record makes of a recovery."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.common.events.model import CustomerClass
from closedloop.recovery.domain.contacts import REACHED_RESULTS, Attempt, AttemptRefused, Reason, Result, check_attempt
from closedloop.recovery.domain.recovery import NotAllowed, Recovery
from closedloop.recovery.domain.rules import Rules
from closedloop.recovery.domain.segments import SignalKind, segment_of

START = datetime(2026, 11, 20, 8, tzinfo=UTC)
RULES = Rules()
CLAIMED = Recovery(
    recovery_id=UUID(int=1),
    customer_id="C1",
    region="NJ",
    segment="hotline",
    status="claimed",
    dissatisfied_at=START,
    deadline=START + RULES.promise,
    due_at=START + RULES.promise,
    version=2,
    claim_number=1,
    held_by="ann",
    claimed_at=START,
    lease_until=START + RULES.lease,
)


@pytest.mark.parametrize(
    ("kind", "channel", "customer_class", "region", "segment"),
    [
        ("complaint_closed", "hotline", "diamond", "NJ", "complaint_centre"),
        ("complaint_followup", None, None, "county", "complaint_centre"),
        ("survey", None, "regular", "NJ", "outbound_city"),
        ("survey", None, None, "county", "outbound_county"),
        ("survey", "hotline", "gold", "county", "phone_manager"),
        ("sms_rating", "hotline", "diamond", "county", "hotline"),
        ("sms_rating", "business_hall", "diamond", "county", "outbound_city"),
        ("sms_rating", None, None, "NJ", "outbound_city"),
    ],
)
def test_who_calls(kind: SignalKind, channel: str | None, customer_class: CustomerClass | None, region: str, segment: str) -> None:
    found = segment_of(kind, channel, customer_class, region, high_value=RULES.high_value, county_regions=frozenset({"county"}))
    assert found == segment


def moments(days: int) -> st.SearchStrategy[datetime]:
    return st.integers(-480, days * 1440).map(lambda minutes: START + timedelta(minutes=minutes))


attempts = st.builds(
    Attempt,
    at=moments(1),
    reached=st.booleans(),
    result=st.sampled_from(get_args(Result)),
    reason=st.none() | st.sampled_from(get_args(Reason)),
    note=st.none() | st.just("because"),
    next_attempt_at=st.none() | moments(34),
)


@given(attempt=attempts, after=st.integers(0, 60), earlier=st.integers(0, 5))
def test_a_call_ends_the_recovery_or_has_a_time_for_the_next(attempt: Attempt, after: int, earlier: int) -> None:
    now = START + timedelta(minutes=after)
    before = replace(CLAIMED, attempts=earlier)
    try:
        check_attempt(attempt, before.dissatisfied_at, now, RULES.next_attempt_within)
    except AttemptRefused:
        with pytest.raises(AttemptRefused):
            before.record(attempt, "ann", now, RULES)
        return
    made = before.record(attempt, "ann", now, RULES)
    assert (made.held_by, made.claimed_at, made.lease_until) == (None, None, None)
    assert made.attempts == earlier + 1
    assert made.version > before.version
    assert (made.status == "closed") == (made.outcome is not None) == (made.closed_at is not None)
    assert (made.status == "deferred") == (made.available_at is not None) == (made.deferred_for is not None)
    assert made.status != "deferred" or (made.available_at is not None and made.available_at > now)
    assert (made.first_reached_at is not None) == (attempt.result in REACHED_RESULTS)
    assert made.first_contact_at == attempt.at
    assert made.deadline == before.deadline


@given(minutes=st.integers(-5, 30), agent=st.sampled_from(["ann", "bob"]), number=st.integers(1, 2))
def test_only_who_holds_a_claim_keeps_it_or_gives_it_back(minutes: int, agent: str, number: int) -> None:
    now = START + timedelta(minutes=minutes)
    holds = agent == "ann" and number == 1 and minutes < 10
    if holds:
        assert CLAIMED.heartbeat(agent, number, now, RULES).lease_until == now + RULES.lease
        assert CLAIMED.release(agent, number, now).status == "waiting"
        return
    with pytest.raises(NotAllowed):
        CLAIMED.heartbeat(agent, number, now, RULES)
    with pytest.raises(NotAllowed):
        CLAIMED.release(agent, number, now)
