"""What an agent records about a call, and what becomes of the recovery."""

from datetime import timedelta
from typing import Any

import pytest

from closedloop.common.http.problems import Conflict, InvalidRequest
from closedloop.recovery.domain.contacts import Result
from recovery.desk import HOUR, MINUTE, START, Desk, rating


async def held(desk: Desk, customer: str = "C1", agent: str = "ann") -> dict[str, Any]:
    await desk.take(rating(customer, desk.now - 10 * MINUTE))
    claim = await desk.claim(agent)
    assert claim is not None
    return claim


async def test_a_customer_who_was_reached_and_made_good_is_done(desk: Desk) -> None:
    claim = await held(desk)
    desk.now += MINUTE
    after = await desk.call("ann", claim, "resolved", reason="repair_slow")
    assert (after["status"], after["outcome"], after["held_by"]) == ("closed", "resolved", None)
    assert after["first_contact_at"] == after["first_reached_at"] == desk.now
    assert await desk.claim("ann") is None
    queued, contacted, closed = await desk.said()
    assert [e["type"] for e in (queued, contacted, closed)] == [f"recovery.{w}.v1" for w in ("queued", "contacted", "closed")]
    assert contacted["data"]["seconds_to_first_contact"] == 11 * 60
    assert (contacted["data"]["reached"], contacted["data"]["reason"], contacted["data"]["attempt"]) == (True, "repair_slow", 1)
    assert closed["data"]["result"] == "resolved"
    assert int(queued["sequence"]) < int(contacted["sequence"]) < int(closed["sequence"])
    assert contacted["id"] == f"{claim['recovery_id']}/{contacted['sequence']}"


async def test_the_first_attempt_meets_the_promise_and_the_first_reached_is_told_beside_it(desk: Desk) -> None:
    claim = await held(desk)
    await desk.call("ann", claim, "no_answer")
    desk.now += HOUR
    await desk.upkeep.tend()
    again = await desk.claim("bob")
    assert again is not None
    after = await desk.call("bob", again, "not_resolved")
    assert (after["first_contact_at"], after["first_reached_at"]) == (START, START + HOUR)
    first, second = (e["data"] for e in (await desk.said())[1:3])
    assert first["seconds_to_first_contact"] == 600
    assert "seconds_to_first_contact" not in second


async def test_who_was_not_reached_is_called_again_by_the_default_rule_until_the_last_attempt(desk: Desk) -> None:
    desk = desk.with_rules(limits=())
    await desk.take(rating("C1", START))
    waits = []
    for _ in range(4):
        claim = await desk.claim("ann")
        assert claim is not None
        after = await desk.call("ann", claim, "busy")
        if after["available_at"] is None:
            break
        waits.append(after["available_at"] - desk.now)
        assert await desk.claim("ann") is None
        desk.now = after["available_at"]
        await desk.upkeep.tend()
    assert waits == [HOUR, 4 * HOUR, 24 * HOUR]
    assert (after["status"], after["outcome"], after["attempts"]) == ("closed", "unreached", 4)


async def test_an_agreed_time_is_kept_and_is_due_soon_after_it(desk: Desk) -> None:
    claim = await held(desk)
    agreed = START + 30 * HOUR
    after = await desk.call("ann", claim, "follow_up", next_attempt_at=agreed)
    assert (after["status"], after["available_at"], after["due_at"]) == ("deferred", agreed, agreed + 30 * MINUTE)
    assert after["deadline"] == START + 110 * MINUTE


async def test_a_call_that_is_recorded_after_the_lease_ran_out_counts(desk: Desk) -> None:
    claim = await held(desk)
    called_at = desk.now + 9 * MINUTE
    desk.now += 3 * HOUR
    await desk.upkeep.tend()
    after = await desk.call("ann", claim, "resolved", at=called_at)
    assert (after["status"], after["first_contact_at"]) == ("closed", called_at)


async def test_a_call_that_is_recorded_after_another_agent_ended_it_is_kept_and_moves_nothing(desk: Desk) -> None:
    claim = await held(desk)
    called_at = desk.now
    desk.now += HOUR
    second = await desk.claim("bob")
    assert second is not None
    with pytest.raises(Conflict):
        await desk.call("ann", claim, "no_answer", at=called_at)
    await desk.call("bob", second, "resolved")
    after = await desk.call("ann", claim, "no_answer", at=called_at)
    assert (after["status"], after["outcome"], after["attempts"]) == ("closed", "resolved", 2)
    assert after["first_contact_at"] == called_at
    assert [e["type"] for e in await desk.said()].count("recovery.closed.v1") == 1


async def test_no_record_while_another_agent_holds_the_customer_for_a_new_recovery(desk: Desk) -> None:
    claim = await held(desk)
    await desk.call("ann", claim, "resolved")
    desk.now += HOUR
    await held(desk, agent="bob")
    with pytest.raises(Conflict):
        await desk.call("ann", claim, "no_answer")


async def test_a_customer_who_called_himself_can_be_recorded_without_a_claim(desk: Desk) -> None:
    await desk.take(rating("C1", START - MINUTE))
    [row] = await desk.rows("recovery")
    after = await desk.call("ann", {"recovery_id": row["recovery_id"], "claim_number": None}, "resolved")
    assert after["status"] == "closed"


@pytest.mark.parametrize(
    ("result", "said", "field"),
    [
        ("resolved", {"reached": False}, "result"),
        ("no_answer", {"reached": True}, "result"),
        ("resolved", {"reason": None}, "reason"),
        ("not_resolved", {"reason": "other"}, "note"),
        ("resolved", {"at": START + 6 * MINUTE}, "contacted_at"),
        ("resolved", {"at": START - 11 * MINUTE}, "contacted_at"),
        ("resolved", {"next_attempt_at": START + HOUR}, "next_attempt_at"),
        ("no_answer", {"next_attempt_at": START}, "next_attempt_at"),
        ("no_answer", {"next_attempt_at": START + timedelta(days=15)}, "next_attempt_at"),
    ],
)
async def test_a_record_that_contradicts_itself_is_refused_by_field(
    desk: Desk, result: Result, said: dict[str, object], field: str
) -> None:
    claim = await held(desk)
    with pytest.raises(InvalidRequest) as refused:
        await desk.call("ann", claim, result, **said)
    assert str(refused.value.detail).startswith(field)
    assert await desk.rows("recovery_contact") == []
