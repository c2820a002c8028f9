"""From dissatisfied signals to the queue: who stands in it, once, and until when he must be called."""

import asyncio
import time
from datetime import timedelta, timezone

import pytest

from closedloop.recovery import metrics
from recovery.desk import HOUR, MINUTE, START, Desk, closed_complaint, rating


async def test_a_dissatisfied_rating_can_be_claimed_and_is_due_two_hours_after_it(desk: Desk) -> None:
    await desk.take(rating("C1", START - 10 * MINUTE, phone="+8613800138007", product="broadband"))
    claim = await desk.claim("ann")
    assert claim is not None
    assert (claim["customer_id"], claim["product"], claim["phone"]) == ("C1", "broadband", "***07")
    assert claim["deadline"] == START - 10 * MINUTE + 2 * HOUR
    [queued] = await desk.said()
    assert (queued["type"], queued["id"]) == ("recovery.queued.v1", f"{claim['recovery_id']}/1")
    assert "+8613800138007" not in str(queued)


async def test_what_is_said_belongs_to_the_trace_of_the_signal(desk: Desk) -> None:
    signal = rating("C1") | {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    await desk.take(signal, rating("C2"))
    [traced] = [e for e in await desk.said() if e["data"]["customer_id"] == "C1"]
    assert traced["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert traced["traceparent"] != signal["traceparent"]


async def test_only_dissatisfied_customers_are_queued(desk: Desk) -> None:
    await desk.take(
        rating("content", score=9),
        rating("contradicts himself, says content", score=1, satisfied=True),
        closed_complaint("content", satisfied=True),
        closed_complaint("unknown", satisfied=None),
        rating("half way", score=5.5),
    )
    assert await desk.rows("recovery") == []
    await desk.take(rating("dissatisfied", score=5), closed_complaint("dissatisfied with the outcome"))
    assert {r["customer_id"] for r in await desk.rows("recovery")} == {"dissatisfied", "dissatisfied with the outcome"}


async def test_several_signals_of_one_customer_are_one_recovery_with_the_earliest_deadline(desk: Desk) -> None:
    await desk.take(rating("C1", START), rating("C1", START - 20 * MINUTE), closed_complaint("C2"))
    await desk.take(closed_complaint("C1", START - 30 * MINUTE), rating("C1", START - MINUTE))
    [one, two] = await desk.rows("recovery", "customer_id")
    assert (one["customer_id"], two["customer_id"]) == ("C1", "C2")
    assert one["deadline"] == one["due_at"] == START - 30 * MINUTE + 2 * HOUR
    story = await desk.story(one["recovery_id"])
    assert [s["at"] for s in story["signals"]] == [START - m * MINUTE for m in (30, 20, 1, 0)]
    assert [h["action"] for h in story["history"]] == ["queued", "signal_added"]
    assert len(await desk.said()) == 2


async def test_a_claimed_customer_takes_in_what_he_says_meanwhile(desk: Desk) -> None:
    await desk.take(rating("C1"))
    claim = await desk.claim("ann")
    await desk.take(rating("C1", START + MINUTE))
    assert claim is not None
    assert await desk.claim("bob") is None
    assert len((await desk.story(claim["recovery_id"]))["signals"]) == 2


def repeated() -> dict[str, float]:
    return {content: metrics.DUPLICATES.labels(content)._value.get() for content in ("same", "other")}


async def test_an_event_that_comes_again_has_its_effect_once_and_other_content_is_counted(desk: Desk) -> None:
    before = repeated()
    await desk.take(rating("C1", id="e", score=1), rating("C1", id="e", score=1), rating("C9", id="e", score=2))
    await desk.take(rating("C1", id="e", score=1), rating("C2", id="e", score=1), rating("C3", id="f"))
    assert [(s["customer_id"], s["score"]) for s in await desk.rows("signal")] == [("C1", 1), ("C3", 1)]
    assert {r["customer_id"] for r in await desk.rows("recovery")} == {"C1", "C3"}
    assert {content: n - before[content] for content, n in repeated().items()} == {"same": 2, "other": 2}


@pytest.mark.parametrize("of_one_batch", [True, False])
async def test_who_came_satisfied_first_is_not_queued_by_other_content_under_the_same_id(desk: Desk, of_one_batch: bool) -> None:
    before = repeated()
    first = [rating("C1", id="e", score=9), closed_complaint("C2", id="k", satisfied=None)]
    later = [rating("C1", id="e", score=1), closed_complaint("C2", id="k", satisfied=False), rating("C3", id="e", score=1)]
    for batch in [[*first, *later]] if of_one_batch else [first, later]:
        await desk.take(*batch)
    assert await desk.rows("recovery") == []
    assert await desk.rows("signal") == []
    assert repeated()["other"] - before["other"] == 3


async def test_the_same_id_of_another_source_is_another_event(desk: Desk) -> None:
    await desk.take(rating("C1", id="e", score=9), rating("C1", id="e") | {"source": "/elsewhere"})
    assert len(await desk.rows("recovery")) == 1


async def test_other_layout_of_the_same_event_is_the_same_content(desk: Desk) -> None:
    before = repeated()
    await desk.take(rating("C1", START, id="e"))
    await desk.take(rating("C1", START.astimezone(timezone(8 * HOUR)), id="e"))
    assert {content: n - before[content] for content, n in repeated().items()} == {"same": 1, "other": 0}


async def test_a_replay_of_last_month_changes_nothing(desk: Desk) -> None:
    customers = [rating(f"C{n}", START - n * MINUTE, score=n) for n in range(1, 10)]
    await desk.take(*customers)
    tables = ("inbox", "signal", "recovery", "recovery_history", "outbox")
    known = [await desk.rows(table) for table in tables]
    desk.now += timedelta(days=35)
    await desk.upkeep.forget()
    await desk.take(*customers)
    assert [await desk.rows(table) for table in tables] == known


async def test_the_same_event_gives_the_same_recovery_again_after_all_was_lost(desk: Desk) -> None:
    await desk.take(rating("C1", id="e-77"))
    [first] = await desk.said()
    for table in ("outbox", "signal", "recovery", "inbox"):
        await desk.pool.execute(f"DELETE FROM {table}")
    desk.now += HOUR
    await desk.take(rating("C1", id="e-77"))
    assert await desk.said() == [first]


async def test_signals_older_than_a_day_on_arrival_are_kept_but_nobody_is_called(desk: Desk) -> None:
    await desk.take(rating("imported", START - 24 * HOUR - timedelta(seconds=1)), rating("just in time", START - 24 * HOUR))
    assert [r["customer_id"] for r in await desk.rows("recovery")] == ["just in time"]
    [late] = [s for s in await desk.rows("signal") if s["recovery_id"] is None]
    assert late["customer_id"] == "imported"
    await desk.take(rating("just in time", START - 30 * HOUR))
    [recovery] = await desk.rows("recovery")
    assert recovery["dissatisfied_at"] == START - 24 * HOUR


async def test_a_customer_who_is_dissatisfied_again_after_the_end_is_called_again(desk: Desk) -> None:
    await desk.take(rating("C1"))
    first = await desk.claim("ann")
    assert first is not None
    assert (await desk.call("ann", first))["status"] == "closed"
    await desk.take(rating("C1", START + HOUR))
    desk.now += HOUR
    second = await desk.claim("ann")
    assert second is not None
    assert second["recovery_id"] != first["recovery_id"]


async def test_members_that_take_the_same_customers_at_once_open_one_recovery_for_each(desk: Desk) -> None:
    customers = [f"C{n}" for n in range(300)]
    batches = [
        [rating(c) for c in customers],
        [closed_complaint(c) for c in reversed(customers)],
        [rating(c) for c in customers[::3]],
    ]
    await asyncio.gather(*(desk.with_rules().take(*batch) for batch in batches))
    recoveries = await desk.rows("recovery")
    assert sorted(r["customer_id"] for r in recoveries) == sorted(customers)
    assert await desk.pool.fetchval("SELECT count(recovery_id) FROM signal") == 700
    assert len(await desk.said()) == 300


async def test_signals_are_taken_while_agents_work(desk: Desk) -> None:
    await desk.take(*(rating(f"C{n}") for n in range(40)))

    async def agent(name: str) -> None:
        while claim := await desk.claim(name):
            await desk.call(name, claim, "resolved")

    more = [[rating(f"C{n}", START - MINUTE) for n in range(40)] for _ in range(10)]
    await asyncio.gather(*(agent(f"agent {n}") for n in range(10)), *(desk.with_rules().take(*batch) for batch in more))
    open_ones = await desk.pool.fetch("SELECT customer_id, count(*) AS n FROM recovery WHERE status <> 'closed' GROUP BY 1")
    assert all(row["n"] == 1 for row in open_ones)
    assert await desk.pool.fetchval("SELECT count(recovery_id) FROM signal") == 440
    said = [e["id"] for e in await desk.said()]
    assert len(said) == len(set(said))
    of_customer: dict[tuple[str, str], list[int]] = {}
    for e in await desk.said():
        of_customer.setdefault((e["data"]["customer_id"], e["data"]["recovery_id"]), []).append(int(e["sequence"]))
    assert all(versions == sorted(versions) for versions in of_customer.values())


async def test_fifty_thousand_signals_are_taken_in_seconds(desk: Desk) -> None:
    events = [rating(f"C{n % 40_000}", START - (n % 300) * timedelta(seconds=1)) for n in range(50_000)]
    started = time.monotonic()
    for at in range(0, len(events), 5_000):
        await desk.take(*events[at : at + 5_000])
    seconds = time.monotonic() - started
    assert await desk.pool.fetchval("SELECT count(*) FROM recovery") == 40_000
    assert await desk.pool.fetchval("SELECT count(recovery_id) FROM signal") == 50_000
    print(f"\n50,000 signals in {seconds:.1f} s")
    assert seconds < 60
