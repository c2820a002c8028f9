"""Figures for Prometheus, and what is forgotten when."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from closedloop.ticketing import metrics, schemas
from closedloop.ticketing.service import Asked
from closedloop.ticketing.upkeep import Upkeep
from ticketing.desk import Desk, breached, complaint, escalated, principal

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def upkeep(desk: Desk) -> Upkeep:
    return Upkeep(desk.pool, desk.settings, ZoneInfo("Asia/Shanghai"))


async def test_open_tickets_and_overdue_measures_are_shown(desk: Desk) -> None:
    await desk.take(escalated(NOON), breached(NOON))
    ticket, _ = await desk.all_tickets()
    content = {"problem_type": "execution", "root_cause": "x", "methods": ["survey"], "text": "x", "difficulty": "easy"}
    await desk.tickets.step(Asked(ticket["id"], 1, None), schemas.Analysis(**content), principal())
    days = [(datetime.now(UTC) + timedelta(days=n)).date() for n in (-3, -2, 3)]
    measures = [{"what": "x", "unit": "u", "due": day, "done": days[0] if n == 0 else None} for n, day in enumerate(days)]
    await desk.tickets.step(Asked(ticket["id"], 3, None), schemas.Improvement(measures=measures), principal())
    await upkeep(desk).figures()
    by_stage = {stage: metrics.OPEN_TICKETS.labels(stage)._value.get() for stage in ("discover", "analyse", "improve", "evaluate")}
    assert by_stage == {"discover": 1, "analyse": 0, "improve": 1, "evaluate": 0}
    assert metrics.OVERDUE_MEASURES._value.get() == 1  # one is done, one is not due yet


async def test_what_was_received_long_ago_is_forgotten(desk: Desk) -> None:
    await desk.take(complaint(NOON - timedelta(days=400), topic="old"), complaint(NOON, topic="fresh"), escalated(NOON))
    await desk.state(NOON + timedelta(days=2))
    long_ago = "received_at - interval '200 days'"
    await desk.pool.execute(
        f"UPDATE complaint AS c SET received_at = {long_ago} FROM subject AS s WHERE s.id = c.subject_id AND topic_path = 'old'"
    )
    await desk.pool.execute(f"UPDATE inbox SET received_at = {long_ago} WHERE event_id IN (SELECT event_id FROM inbox LIMIT 1)")
    await upkeep(desk).forget()
    assert await desk.pool.fetchval("SELECT count(*) FROM inbox") == 2
    assert [row["topic_path"] for row in await desk.pool.fetch("SELECT topic_path FROM subject")] == ["fresh"]
    assert {topic for topic, _ in await desk.bins()} == {"fresh"}
    assert len(await desk.all_tickets()) == 1


async def test_an_import_of_old_complaints_is_not_forgotten_at_once(desk: Desk) -> None:
    await desk.take(complaint(datetime(2015, 4, 1, tzinfo=UTC), topic="imported"))
    await upkeep(desk).forget()
    assert await desk.pool.fetchval("SELECT count(*) FROM complaint") == 1
    assert len(await desk.bins()) == 1


async def test_keys_of_requests_are_kept_for_a_day(desk: Desk) -> None:
    body = schemas.NewTicket(cause="topic:a", title="x", evidence="y")
    await desk.tickets.open(body, "old", principal())
    await desk.tickets.open(body.model_copy(update={"cause": "topic:b"}), "new", principal())
    await desk.pool.execute("UPDATE idempotency_key SET created_at = created_at - interval '23 hours' WHERE key = 'new'")
    await desk.pool.execute("UPDATE idempotency_key SET created_at = created_at - interval '25 hours' WHERE key = 'old'")
    await upkeep(desk).forget()
    assert [row["key"] for row in await desk.pool.fetch("SELECT key FROM idempotency_key")] == ["new"]
