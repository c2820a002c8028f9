"""What makes a ticket open, when, and only once."""

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from closedloop.common.consumer.rows import Received
from closedloop.common.events.model import IndicatorEscalated
from closedloop.common.events.topics import TOPIC_OF_TYPE
from closedloop.ticketing import schemas
from closedloop.ticketing.consumer import SUBSCRIPTION
from closedloop.ticketing.service import Asked
from schemas import Migrated
from ticketing.desk import Desk, breach_data, breached, complaint, enquiry, escalated, event, principal

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TOPIC = "top_up/not_credited"


def burst(count: int, at: datetime = NOON, topic: str = TOPIC, every: timedelta = MINUTE) -> list[Received]:
    return [complaint(at + n * every, topic=topic, region=("NJ", "SZ")[n % 2]) for n in range(count)]


def a_month(seed: int = 1, per_day: int = 30, topic: str = TOPIC) -> list[Received]:
    """Quiet history up to noon."""
    choose = random.Random(seed)
    begin = NOON - timedelta(days=35)
    return sorted(
        (complaint(begin + timedelta(days=35) * choose.random(), topic=topic) for _ in range(35 * per_day)), key=lambda e: e.at
    )


async def close_all(desk: Desk) -> None:
    for ticket in await desk.all_tickets():
        if ticket["stage"] != "closed":
            body = schemas.Close(outcome="unfounded", reason="a test")
            await desk.tickets.step(Asked(ticket["id"], ticket["version"], None), body, principal())


# --- hot ---


async def test_a_hot_subject_opens_a_ticket_with_its_evidence(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10)
    await desk.take(*burst(12))
    await desk.state(NOON + timedelta(hours=1))
    [ticket] = await desk.all_tickets()
    assert (ticket["cause"], ticket["trigger"], ticket["stage"]) == (f"topic:{TOPIC}", "hot", "discover")
    assert ticket["opened_at"] == NOON + 10 * MINUTE
    assert ticket["regions"] == ["NJ", "SZ"]
    [firing] = await desk.firings()
    assert (firing["expected"], firing["observed"], firing["customers"]) == (10, 10, 10)
    assert firing["regions"] == {"NJ": 5, "SZ": 5}
    assert len(firing["complaints"]) == 10
    assert set(firing["complaints"][0]) == {"complaint_id", "region", "at"}


async def test_one_customer_who_complains_often_makes_nothing_hot(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10)
    await desk.take(*[complaint(NOON + n * MINUTE, customer="C1") for n in range(50)])
    await desk.state(NOON + timedelta(hours=2))
    assert await desk.all_tickets() == []


async def test_nothing_is_stated_before_event_time_has_passed(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10)
    await desk.take(*burst(12))
    await desk.state(NOON + 9 * MINUTE)
    assert await desk.all_tickets() == []
    await desk.state(NOON + 10 * MINUTE)
    assert len(await desk.all_tickets()) == 1


async def test_a_subject_that_stays_hot_fires_once_a_day_onto_the_same_ticket(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10)
    await desk.take(*burst(70, every=timedelta(hours=1)))
    for hours in range(0, 80, 5):
        await desk.state(NOON + timedelta(hours=hours))
    fired = [f["at"] for f in await desk.firings() if f["trigger"] == "hot"]
    assert fired == [fired[0], fired[0] + timedelta(hours=24), fired[0] + timedelta(hours=48)]
    assert len(await desk.all_tickets()) == 1


async def test_later_data_changes_values_but_no_statement_made(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10)
    first = burst(12)
    await desk.take(*first[:8], complaint(NOON + timedelta(hours=5)))
    await desk.state(NOON + timedelta(hours=6))
    await desk.take(*first[8:])
    await desk.state(NOON + timedelta(hours=6))
    assert await desk.all_tickets() == []
    assert sum(customers for _, customers in (await desk.bins()).values()) == 13


async def test_hot_enquiries_have_their_own_threshold_and_the_topics_ticket(desk: Desk) -> None:
    desk = desk.with_settings(hot_enquirers=5)
    await desk.take(*[enquiry(NOON + n * MINUTE, topic=TOPIC) for n in range(5)], escalated(NOON))
    await desk.state(NOON + timedelta(hours=1))
    assert [t["cause"] for t in await desk.all_tickets()] == [f"topic:{TOPIC}"]
    assert {f["trigger"] for f in await desk.firings()} == {"escalated", "hot_enquiries"}


# --- batch ---


async def test_a_burst_against_the_subjects_own_history_opens_a_ticket(desk: Desk) -> None:
    await desk.take(*a_month(), *a_month(2, 20, "other"), *burst(25))
    await desk.state(NOON + timedelta(hours=3))
    [ticket] = await desk.all_tickets()
    assert ticket["trigger"] == "batch"
    assert NOON < ticket["opened_at"] <= NOON + timedelta(hours=1)
    [firing] = await desk.firings()
    assert firing["observed"] > 3 * firing["expected"] > 0
    assert firing["window_end"] == ticket["opened_at"]
    assert firing["regions"].keys() == {"NJ", "SZ"}


async def test_live_and_catching_up_state_the_same(desk: Desk, ticketing_database: Migrated) -> None:
    """Step by step as it happens, and in one go afterwards: the same firings, the same tickets, under the same ids."""
    desk = desk.with_settings(hot_customers=40)
    events = sorted([*a_month(), *a_month(2, 20, "other"), *burst(60), *burst(50, NOON, "other")], key=lambda e: e.at)
    end = NOON + timedelta(hours=30)
    live, position = NOON - timedelta(days=2), 0
    while live < end:
        live += timedelta(minutes=43)
        known = position
        while known < len(events) and events[known].at < live:
            known += 1
        await desk.take(*events[position:known])
        position = known
        await desk.state(live)
    stated = await desk.firings()
    opened = await desk.all_tickets()
    assert {f["trigger"] for f in stated} == {"batch", "hot"}

    await empty(ticketing_database.admin_url)
    random.Random(3).shuffle(events)
    await desk.take(*events)
    await desk.state(end)

    def essence(firings: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        return [(f["id"], f["trigger"], f["at"], f["expected"], f["observed"], f["regions"]) for f in firings]

    assert essence(await desk.firings()) == essence(stated)
    assert [(t["id"], t["trigger"], t["opened_at"]) for t in await desk.all_tickets()] == [
        (t["id"], t["trigger"], t["opened_at"]) for t in opened
    ]


async def empty(admin_url: str) -> None:
    """As if nothing had ever been taken."""
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(
            "SET search_path = ticketing; TRUNCATE ticket, ticket_history, firing_history, subject, complaint, bin, inbox, outbox"
        )
    finally:
        await connection.close()


async def test_a_replay_over_what_is_stored_states_nothing_new(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10)
    events = burst(12)
    await desk.take(*events)
    await desk.state(NOON + timedelta(hours=1))
    before = await desk.firings(), await desk.said()
    await desk.pool.execute("UPDATE subject SET batch_until = NULL, hot_until = NULL, hot_fired_at = NULL")
    await desk.take(*events)
    await desk.state(NOON + timedelta(hours=1))
    assert (await desk.firings(), await desk.said()) == before


async def test_an_import_is_stated_when_it_has_stopped_coming(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10, settle_s=3600)
    await desk.take(*burst(12))
    await desk.state(NOON + timedelta(hours=1))
    assert await desk.all_tickets() == []
    await desk.pool.execute("UPDATE subject SET backfilled_at = backfilled_at - interval '2 hours'")
    await desk.state(NOON + timedelta(hours=1))
    assert len(await desk.all_tickets()) == 1


async def test_complaints_that_always_come_late_do_not_put_statements_off_for_ever(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10, settle_s=3600, settle_at_most_s=7200)
    await desk.take(*burst(6))
    await desk.pool.execute("UPDATE subject SET backfill_since = backfill_since - interval '3 hours'")
    await desk.take(*burst(6))
    await desk.state(NOON + timedelta(hours=1))
    assert len(await desk.all_tickets()) == 1


# --- escalations and indicators ---


async def test_an_escalated_complaint_opens_a_ticket_at_once(desk: Desk) -> None:
    await desk.take(escalated(NOON, "K7"))
    [ticket] = await desk.all_tickets()
    assert (ticket["cause"], ticket["trigger"], ticket["regions"]) == (f"topic:{TOPIC}", "escalated", ["NJ"])
    [said] = await desk.said()
    assert (said["type"], said["time"], said["sequence"]) == ("ticket.opened.v1", "2026-06-01T12:00:00.000Z", "1")


async def test_an_escalation_without_subject_has_that_of_its_registration(desk: Desk) -> None:
    await desk.take(escalated(NOON, "K7", topic=None), complaint(NOON, complaint_id="K7", topic="roaming"))
    [ticket] = await desk.all_tickets()
    assert ticket["cause"] == "topic:roaming"


async def test_an_escalation_of_an_unknown_complaint_is_about_that_complaint(desk: Desk) -> None:
    await desk.take(escalated(NOON, "K8", topic=None))
    [ticket] = await desk.all_tickets()
    assert (ticket["cause"], ticket["topic_path"]) == ("complaint:K8", None)


async def test_a_breach_opens_one_ticket_per_indicator_and_dimensions(desk: Desk) -> None:
    await desk.take(
        breached(NOON, "a", dimensions={"region": "NJ", "channel": "app"}),
        breached(NOON + MINUTE, "a", dimensions={"channel": "app", "region": "NJ"}),
        breached(NOON, "a", dimensions={"region": "SZ"}),
        breached(NOON, "b", dimensions={}),
    )
    found = {t["cause"]: t for t in await desk.all_tickets()}
    assert set(found) == {"indicator:a{channel=app,region=NJ}", "indicator:a{region=SZ}", "indicator:b"}
    assert found["indicator:a{region=SZ}"]["unit"] == "customer_service"
    assert found["indicator:b"]["regions"] == []
    assert len(await desk.firings()) == 4


async def test_a_breach_that_is_stated_again_is_the_same_firing(desk: Desk) -> None:
    await desk.take(breached(NOON), breached(NOON))  # two ids, one window
    assert len(await desk.firings()) == 1


async def test_a_warning_opens_no_ticket_and_what_is_critical_does(desk: Desk) -> None:
    for minute, level in enumerate(("warning", "critical", None)):
        data = breach_data(NOON + minute * MINUTE, f"i{minute}") | ({"level": level} if level else {})
        await desk.take(event("indicator.breached.v1", NOON + minute * MINUTE, data))
    assert sorted(t["cause"] for t in await desk.all_tickets()) == ["indicator:i1{region=NJ}", "indicator:i2{region=NJ}"]


async def test_a_breach_that_gets_worse_opens_a_ticket_and_half_a_recovery_is_noted(desk: Desk) -> None:
    steps = (("breached", "warning"), ("breached", "critical"), ("recovered", "warning"), ("recovered", None))
    for minute, (kind, level) in enumerate(steps):
        data = breach_data(NOON + minute * MINUTE, "a") | ({"level": level} if level else {})
        await desk.take(event(f"indicator.{kind}.v1", NOON + minute * MINUTE, data))
    [ticket] = await desk.all_tickets()
    assert ticket["trigger"] == "indicator"
    lines = [(row["action"], row["reason"]) for row in await desk.pool.fetch("SELECT * FROM ticket_history ORDER BY seq")]
    assert lines[1:] == [
        ("indicator_recovered", "the indicator is back, as far as warning"),
        ("indicator_recovered", "the indicator is back"),
    ]


def test_an_escalated_breach_is_skipped() -> None:
    assert IndicatorEscalated not in SUBSCRIPTION.types
    assert TOPIC_OF_TYPE[IndicatorEscalated].name in SUBSCRIPTION.topics


async def test_an_indicator_that_came_back_is_noted_and_the_ticket_stays_open(desk: Desk) -> None:
    await desk.take(breached(NOON))
    await desk.take(breached(NOON + MINUTE, type="indicator.recovered.v1", value=0.95))
    [ticket] = await desk.all_tickets()
    assert ticket["stage"] == "discover"
    actions = [row["action"] for row in await desk.pool.fetch("SELECT action FROM ticket_history ORDER BY seq")]
    assert actions == ["open", "indicator_recovered"]


async def test_a_breach_whose_window_is_no_time_is_rejected_and_the_rest_taken(desk: Desk) -> None:
    broken = event("indicator.breached.v1", NOON, breach_data(NOON, "b") | {"window_end": "tomorrow"})
    [rejection] = await desk.take(broken, escalated(NOON))
    assert rejection.record is broken.record
    assert "data.window_end" in rejection.message
    assert [t["trigger"] for t in await desk.all_tickets()] == ["escalated"]


# --- one open ticket per cause ---


async def test_whatever_fires_on_a_cause_is_added_to_its_open_ticket(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10)
    await desk.take(escalated(NOON, region="WX"))
    await desk.take(*burst(12, NOON + timedelta(hours=1)))
    await desk.state(NOON + timedelta(hours=3))
    [ticket] = await desk.all_tickets()
    assert ticket["trigger"] == "escalated"
    assert ticket["regions"] == ["NJ", "SZ", "WX"]
    assert ticket["customers"] == 10
    assert [f["trigger"] for f in await desk.firings()] == ["escalated", "hot"]
    assert len(await desk.said()) == 1


async def test_evidence_may_raise_the_priority_and_leaves_the_version(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10)
    await desk.take(breached(NOON, value=0.899), escalated(NOON))
    before = {t["cause"]: t for t in await desk.all_tickets()}[f"topic:{TOPIC}"]
    await desk.take(*burst(150, NOON, every=timedelta(seconds=1)))
    await desk.state(NOON + timedelta(hours=3))
    after = {t["cause"]: t for t in await desk.all_tickets()}[f"topic:{TOPIC}"]
    assert after["priority"] < before["priority"]
    assert after["version"] == before["version"]


async def test_a_closed_ticket_never_absorbs(desk: Desk) -> None:
    await desk.take(escalated(NOON, id="first"))
    await close_all(desk)
    await desk.take(escalated(NOON, id="first"), escalated(NOON + MINUTE, id="second"))
    closed, opened = await desk.all_tickets()
    assert (closed["stage"], opened["stage"]) == ("closed", "discover")
    assert [f["ticket_id"] for f in await desk.firings()] == [closed["id"], opened["id"]]


async def test_two_triggers_at_once_make_one_ticket(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10)
    await desk.take(*burst(12))
    await asyncio.gather(
        desk.state(NOON + timedelta(hours=2)),
        *[desk.take(escalated(NOON + timedelta(seconds=n), id=f"esc-{n}"), breached(NOON + n * MINUTE)) for n in range(8)],
    )
    found = await desk.all_tickets()
    assert sorted(t["cause"] for t in found) == ["indicator:first_contact_in_time{region=NJ}", f"topic:{TOPIC}"]
    assert len(await desk.firings()) == 8 + 8 + 1
    assert len(await desk.said()) == 2


async def test_two_processes_state_one_after_the_other(desk: Desk) -> None:
    desk = desk.with_settings(hot_customers=10)
    await desk.take(*burst(12))
    outcomes = await asyncio.gather(*[desk.statements.state_until(NOON + timedelta(hours=2)) for _ in range(5)])
    assert any(outcomes)
    assert len(await desk.firings()) == 1


async def test_the_ids_of_tickets_derive_from_what_opened_them(desk: Desk) -> None:
    await desk.take(escalated(NOON, id="x"))
    [ticket] = await desk.all_tickets()
    [firing] = await desk.firings()
    assert ticket["id"] == firing["id"]
    assert ticket["id"].version == uuid.uuid5(uuid.NAMESPACE_URL, "").version
