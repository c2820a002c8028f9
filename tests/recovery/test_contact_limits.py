"""No customer is contacted more often than the limits say, whoever asks at the same moment."""

from datetime import timedelta

import asyncpg
import pytest

from closedloop.common.http.problems import Conflict, Forbidden, NotFound
from closedloop.recovery.domain.rules import ContactLimit
from closedloop.recovery.service import Asked
from recovery.desk import HOUR, MINUTE, START, Desk, at_once, principal, rating

DAY = timedelta(days=1)


async def test_of_many_who_reserve_at_once_only_as_many_succeed_as_the_limit_allows(desk: Desk) -> None:
    answers = await at_once(*(desk.reserve("C1") for _ in range(40)), *(desk.reserve("C2") for _ in range(2)))
    refused = [a for a in answers if isinstance(a, Conflict)]
    assert len(refused) == 37
    assert await desk.pool.fetchval("SELECT count(*) FROM contact WHERE customer_id = 'C1'") == 3
    assert "2026-11-21T08:00:00+00:00" in str(refused[0].detail)


async def test_a_claim_and_reservations_at_once_share_the_limit(desk: Desk) -> None:
    desk = desk.with_rules(limits=(ContactLimit(1, DAY),))
    await desk.take(*(rating(f"C{n}") for n in range(30)))
    planned = [desk.reserve(f"C{n}") for n in range(30)]
    answers = await at_once(*planned[:15], *(desk.claim(f"agent {n}") for n in range(30)), *planned[15:])
    for n in range(30):
        reserved = await desk.pool.fetchval("SELECT count(*) FROM contact WHERE customer_id = $1", f"C{n}")
        claimed = await desk.pool.fetchval("SELECT count(*) FROM recovery WHERE customer_id = $1 AND status = 'claimed'", f"C{n}")
        assert reserved + claimed <= 1, f"C{n}"
    assert not [a for a in answers if isinstance(a, Exception) and not isinstance(a, Conflict)]


async def test_a_customer_whose_limit_is_used_up_is_not_claimed_until_it_allows(desk: Desk) -> None:
    for at in (0, 1, 2):
        desk.now = START + at * HOUR
        await desk.reservations.confirm(desk.asked("planner", "manager"), (await desk.reserve("C1"))["reservation_id"], None)
    await desk.take(rating("C1", START), rating("C2", START + HOUR))
    claim = await desk.claim("ann")
    assert claim is not None
    assert claim["customer_id"] == "C2"
    await desk.release("ann", claim)
    [put_off] = await desk.pool.fetch("SELECT * FROM recovery WHERE customer_id = 'C1'")
    assert (put_off["status"], put_off["deferred_for"], put_off["available_at"]) == ("deferred", "contact_limit", START + DAY)
    desk.now = START + DAY
    await desk.upkeep.tend()
    claim = await desk.claim("ann")
    assert claim is not None
    assert claim["customer_id"] == "C1"


async def test_a_released_or_expired_reservation_lets_the_customer_be_called(desk: Desk) -> None:
    desk = desk.with_rules(limits=(ContactLimit(1, DAY),))
    await desk.take(rating("C1"), rating("C2"))
    first, _ = await desk.reserve("C1"), await desk.reserve("C2")
    assert await desk.claim("ann") is None
    await desk.reservations.release(desk.asked("planner", "manager"), first["reservation_id"])
    await desk.upkeep.tend()
    claim = await desk.claim("ann")
    assert claim is not None
    assert claim["customer_id"] == "C1"
    desk.now += desk.rules.reservation
    await desk.upkeep.tend()
    claim = await desk.claim("bob")
    assert claim is not None


async def test_calls_count_and_a_claim_is_a_contact_about_to_be(desk: Desk) -> None:
    desk = desk.with_rules(limits=(ContactLimit(1, DAY),))
    await desk.take(rating("C1"))
    claim = await desk.claim("ann")
    assert claim is not None
    with pytest.raises(Conflict):
        await desk.reserve("C1")
    await desk.call("ann", claim, "resolved")
    with pytest.raises(Conflict):
        await desk.reserve("C1")
    desk.now += DAY
    assert (await desk.reserve("C1"))["state"] == "reserved"


async def test_the_month_counts_beside_the_day(desk: Desk) -> None:
    for day in range(6):
        desk.now = START + day * DAY
        await desk.reservations.confirm(desk.asked("planner", "manager"), (await desk.reserve("C1"))["reservation_id"], None)
    desk.now = START + 29 * DAY
    with pytest.raises(Conflict) as refused:
        await desk.reserve("C1")
    assert "2026-12-20T08:00:00" in str(refused.value.detail)
    desk.now = START + 30 * DAY
    await desk.reserve("C1")


async def test_a_reservation_is_confirmed_or_released_once_and_only_within_the_regions(desk: Desk) -> None:
    planner = desk.asked("planner", "manager")
    one, other = await desk.reserve("C1"), await desk.reserve("C1", region="SZ")
    _, confirmed = await desk.reservations.confirm(planner, one["reservation_id"], START - MINUTE)
    assert (confirmed["state"], confirmed["at"]) == ("confirmed", START - MINUTE)
    assert await desk.reservations.confirm(planner, one["reservation_id"], None) == (200, confirmed)
    with pytest.raises(Conflict):
        await desk.reservations.release(planner, one["reservation_id"])
    with pytest.raises(NotFound):
        await desk.reservations.release(desk.asked("planner", "manager", ["NJ"]), other["reservation_id"])
    with pytest.raises(Forbidden):
        await desk.reservations.reserve(desk.asked("planner", "manager", ["NJ"]), "C1", "SZ", "survey")
    moves = await desk.rows("contact_history", "history_id")
    assert [(m["from_state"], m["to_state"]) for m in moves] == [(None, "reserved"), (None, "reserved"), ("reserved", "confirmed")]


async def test_a_repeated_reservation_is_the_same_one(desk: Desk) -> None:
    answers = await at_once(*(desk.reserve("C1", key="k") for _ in range(5)))
    assert len({str(a["reservation_id"]) for a in answers}) == 1
    later = Asked(principal("planner", "manager"), "k", b"C1")
    _, again = await desk.reservations.reserve(later, "C1", "NJ", "survey")
    assert str(again["reservation_id"]) == str(answers[0]["reservation_id"])


NOW = "clock_timestamp()"
PLANNED = f"gen_random_uuid(), 'C1', 'NJ', 'survey', 'reserved', {NOW}, {NOW} + interval '1 h', 'ann'"


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO contact (contact_id, customer_id, region, purpose, state, at, expires_at, actor) VALUES ({PLANNED})",
        "UPDATE contact SET state = 'reserved' WHERE state = 'released'",
        "UPDATE contact SET state = 'confirmed' WHERE state = 'released'",
        "UPDATE contact SET state = 'reserved' WHERE state = 'confirmed'",
        "UPDATE contact SET state = 'released' WHERE state = 'confirmed'",
        "UPDATE contact SET customer_id = 'C9'",
        "DELETE FROM contact",
    ],
)
async def test_the_services_role_cannot_make_or_unmake_a_contact_by_itself(desk: Desk, statement: str) -> None:
    planner = desk.asked("planner", "manager")
    released, confirmed = await desk.reserve("C1"), await desk.reserve("C1")
    await desk.reservations.release(planner, released["reservation_id"])
    await desk.reservations.confirm(planner, confirmed["reservation_id"], None)
    before = await desk.rows("contact", "contact_id")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="reserve_contact"):
        await desk.pool.execute(statement)
    assert await desk.rows("contact", "contact_id") == before


async def test_whoever_asks_the_database_itself_shares_the_limit_with_all_others(desk: Desk) -> None:
    ask = f"""SELECT reserve_contact(gen_random_uuid(), 'C1', 'NJ', 'survey', 'ann', {NOW}, {NOW} + interval '1 h',
                                     '{{24 h}}', '{{3}}')"""
    desk.now = await desk.pool.fetchval(f"SELECT {NOW}")
    answers = await at_once(*(desk.pool.fetchval(ask) for _ in range(20)), *(desk.reserve("C1") for _ in range(20)))
    taken = [a for a in answers if a is None or isinstance(a, dict)]
    assert len(taken) == 3
    assert await desk.pool.fetchval("SELECT count(*) FROM contact WHERE customer_id = 'C1'") == 3
