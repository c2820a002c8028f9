"""What is over is forgotten some day, piece by piece: nothing young or open, and histories by their owner's functions alone."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from closedloop.recovery import upkeep
from closedloop.recovery.service import Asked
from recovery.desk import HOUR, MINUTE, Desk, closed_complaint, principal, rating

DAY = timedelta(days=1)
TABLES = (
    "inbox",
    "signal",
    "recovery",
    "recovery_history",
    "recovery_contact",
    "contact",
    "contact_history",
    "phone_reveal_history",
)


@pytest.fixture
async def today(desk: Desk) -> Desk:
    """The desk at the database's own time, by which the owner's functions know what is young."""
    desk.now = await desk.pool.fetchval("SELECT date_trunc('minute', clock_timestamp())")
    return desk


async def closed_recovery(desk: Desk, customer: str) -> dict[str, Any]:
    """Two signals, a reveal, a call without answer, a call that ended it."""
    await desk.take(rating(customer, desk.now, phone="+8613800138007"), closed_complaint(customer, desk.now))
    claim = await desk.claim("ann")
    assert claim is not None
    await desk.recoveries.reveal_phone(desk.asked("ann"), claim["recovery_id"], "to call")
    await desk.call("ann", claim, "no_answer")
    await desk.call("ann", claim, "resolved")
    return claim


async def counts(desk: Desk) -> dict[str, int]:
    return {table: await desk.pool.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}


async def test_a_closed_recovery_goes_after_its_time_with_all_that_belongs_to_it(today: Desk) -> None:
    now = today.now
    for age in (401, 399):
        today.now = now - age * DAY
        await closed_recovery(today, f"closed {age} days ago")
        await today.take(rating("too old on arrival", today.now - 2 * DAY))
        await today.reserve("planned", purpose="campaign")
        today.now += HOUR
        await today.upkeep.tend()
    today.now = now - 401 * DAY
    await today.take(rating("still open", today.now))
    before = await counts(today)
    today.now = now
    await today.upkeep.forget()
    after = await counts(today)
    assert before.pop("inbox") == 7
    assert after.pop("inbox") == 0
    assert before == {
        "signal": 7,
        "recovery": 3,
        "recovery_history": 9,
        "recovery_contact": 4,
        "contact": 6,
        "contact_history": 4,
        "phone_reveal_history": 2,
    }
    assert after == {
        "signal": 4,
        "recovery": 2,
        "recovery_history": 5,
        "recovery_contact": 2,
        "contact": 3,
        "contact_history": 2,
        "phone_reveal_history": 1,
    }
    assert {r["customer_id"] for r in await today.rows("recovery")} == {"closed 399 days ago", "still open"}


async def test_an_id_is_remembered_until_no_replay_can_bring_it_again(today: Desk) -> None:
    now = today.now
    for age in (61, 59):
        today.now = now - age * DAY
        await today.take(rating(f"satisfied {age} days ago", today.now, id=str(age), score=9))
    today.now = now
    await today.upkeep.forget()
    assert [row["event_id"] for row in await today.rows("inbox")] == ["59"]


async def test_it_goes_piece_by_piece_until_all_is_gone(today: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(upkeep, "RECOVERIES_AT_ONCE", 2)
    now = today.now
    today.now = now - 500 * DAY
    for n in range(5):
        await closed_recovery(today, f"C{n}")
        await today.take(rating(f"late {n}", today.now - 2 * DAY))
    today.now = now
    await today.upkeep.forget()
    assert await counts(today) == dict.fromkeys(TABLES, 0)


async def test_what_somebody_did_lately_about_an_old_recovery_is_kept_with_it(today: Desk) -> None:
    now = today.now
    today.now = now - 500 * DAY
    seen, called, forgotten = [await closed_recovery(today, f"C{n}") for n in range(3)]
    today.now = now - DAY
    manager = Asked(principal("meg", "manager"), None, b"")
    await today.recoveries.reveal_phone(manager, seen["recovery_id"], "a lawyer asks")
    await today.call("ann", called, "no_answer")
    today.now = now
    await today.upkeep.forget()
    kept = {r["recovery_id"] for r in await today.rows("recovery")}
    assert kept == {seen["recovery_id"], called["recovery_id"]} != {forgotten["recovery_id"]}
    assert len([s for s in await today.rows("phone_reveal_history") if s["recovery_id"] == seen["recovery_id"]]) == 2


async def test_the_role_cannot_touch_a_history_nor_have_a_young_one_forgotten(today: Desk) -> None:
    await closed_recovery(today, "C1")
    await today.reserve("C1", purpose="campaign")
    today.now += HOUR
    await today.upkeep.tend()
    for history in ("recovery_history", "contact_history", "phone_reveal_history"):
        assert await today.pool.fetchval(f"SELECT count(*) FROM {history}") > 0
        for change in (f"DELETE FROM {history}", f"UPDATE {history} SET actor = 'nobody'", f"TRUNCATE {history}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await today.pool.execute(change)
    before = await counts(today)
    # whoever has the role may write that it ended long ago, but not what its history says
    await today.pool.execute("UPDATE recovery SET closed_at = '2001-01-01'")
    await today.pool.execute("UPDATE contact SET at = '2001-01-01'")
    tomorrow = today.now + DAY
    assert await today.pool.fetchval("SELECT forget_recoveries($1, 100)", tomorrow) == 0
    await today.pool.fetchval("SELECT forget_contacts($1, 100)", tomorrow)
    assert (await counts(today))["contact_history"] == before["contact_history"]
    assert (await counts(today))["recovery_history"] == before["recovery_history"]


async def test_two_members_forget_at_once(today: Desk) -> None:
    now = today.now
    today.now = now - 500 * DAY
    for n in range(10):
        await closed_recovery(today, f"C{n}")
    today.now = now
    other = today.with_rules(lease=MINUTE)
    async with today.pool.acquire() as one, one.transaction():
        assert await one.fetchval("SELECT forget_recoveries($1, 4)", now - 400 * DAY) == 4
        assert await other.pool.fetchval("SELECT forget_recoveries($1, 100)", now - 400 * DAY) == 6
    assert await today.rows("recovery") == []
