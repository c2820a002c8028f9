"""Complaints counted once, in whatever order they come."""

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from closedloop.common.consumer.rows import Received
from closedloop.common.events.model import ComplaintRegisteredData
from closedloop.ticketing import metrics
from closedloop.ticketing.domain.bins import bin_of
from closedloop.ticketing.domain.distinct import Complaint, distinct
from ticketing.desk import Desk, complaint, enquiry, event

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def many(seed: int, count: int = 300) -> list[Received]:
    """Few customers, three subjects, a grid of times: repetitions within 24 h, equal times and exact days are common."""
    choose = random.Random(seed)
    return [
        complaint(
            NOON + timedelta(hours=6 * choose.randrange(60), minutes=10 * choose.randrange(2)),
            customer=f"C{choose.randrange(12)}",
            topic=f"topic/{choose.randrange(3)}",
            id=f"{seed}-{choose.randrange(10**9)}",
        )
        for _ in range(count)
    ]


def expected_bins(events: list[Received]) -> dict[tuple[str, int], tuple[int, int]]:
    """The rule as written (domain/distinct.py), over everything at once."""
    by_topic: dict[str, list[Complaint]] = defaultdict(list)
    for one in events:
        data = one.event.data
        assert isinstance(data, ComplaintRegisteredData)
        by_topic[data.topic_path].append(Complaint(one.at, one.event.id, data.customer_id))
    bins: dict[tuple[str, int], tuple[int, int]] = {}
    for topic, complaints in by_topic.items():
        all_of_them = Counter(bin_of(c.time) for c in complaints)
        customers = Counter(bin_of(c.time) for c in distinct(complaints))
        bins |= {(topic, number): (count, customers[number]) for number, count in all_of_them.items()}
    return bins


@pytest.mark.parametrize("seed", range(3))
async def test_bins_do_not_depend_on_order_batches_or_repetitions(desk: Desk, seed: int) -> None:
    events = many(seed)
    choose = random.Random(seed + 100)
    coming = events + choose.sample(events, 80)
    choose.shuffle(coming)
    while coming:
        size = choose.choice([1, 2, 7, 50])
        batch, coming = coming[:size], coming[size:]
        await desk.take(*batch)
    assert await desk.bins() == expected_bins(events)


async def test_the_same_event_in_one_batch_counts_once(desk: Desk) -> None:
    one = complaint(NOON)
    await desk.take(one, one)
    assert list((await desk.bins()).values()) == [(1, 1)]


async def test_of_two_contents_under_one_id_the_first_wins_and_it_is_counted(desk: Desk) -> None:
    def counted() -> float:
        return float(metrics.DUPLICATES.labels("other")._value.get())

    before = counted()
    await desk.take(complaint(NOON, topic="a", id="same"))
    await desk.take(complaint(NOON, topic="b", id="same"))
    assert {topic for topic, _ in await desk.bins()} == {"a"}
    assert counted() == before + 1


async def test_one_id_from_two_sources_is_two_events(desk: Desk) -> None:
    data = {"region": "NJ", "topic_path": "a"}
    for n, source in enumerate(("/nj", "/sz")):
        own = {"customer_id": f"C{n}", "complaint_id": f"K{n}"}
        await desk.take(event("complaint.registered.v1", NOON, data | own, id="1", source=source))
    assert list((await desk.bins()).values()) == [(2, 2)]


async def test_enquiries_are_counted_apart_from_complaints(desk: Desk) -> None:
    await desk.take(complaint(NOON, topic="a"), enquiry(NOON, topic="a"))
    kinds = await desk.pool.fetch("SELECT kind, topic_path FROM subject ORDER BY kind")
    assert [tuple(row) for row in kinds] == [("complaint", "a"), ("enquiry", "a")]


async def test_neither_text_nor_phone_of_a_complaint_is_kept(desk: Desk) -> None:
    await desk.take(complaint(NOON))
    for table in ("complaint", "inbox", "subject", "bin"):
        kept = str(await desk.pool.fetch(f"SELECT * FROM {table}"))
        assert "13800138000" not in kept
        assert "the text" not in kept


async def test_beyond_the_greatest_number_of_subjects_complaints_are_not_counted_and_it_is_said(desk: Desk) -> None:
    before = metrics.UNTRACKED._value.get()
    narrow = desk.with_settings(max_subjects=2)
    await narrow.take(complaint(NOON, topic="a"))
    await narrow.take(complaint(NOON, topic="b"), complaint(NOON, topic="c"), complaint(NOON, topic="a"))
    assert {topic for topic, _ in await desk.bins()} == {"a", "b"}
    assert metrics.UNTRACKED._value.get() == before + 1


async def test_the_longest_ids_that_the_contract_allows_are_taken(desk: Desk) -> None:
    widest = "\U0001f4f5"  # four bytes, and hardly compressible when it stands beside others
    longest = "".join(chr(ord(widest) + n % 97) for n in range(256))
    data = {"customer_id": longest, "complaint_id": longest, "region": "R" * 64, "topic_path": longest[:200]}
    await desk.take(event("complaint.registered.v1", NOON, data, id=longest, source=longest))
    await desk.take(event("complaint.escalated.v1", NOON, data, id=longest, source=longest[::-1]))
    [ticket] = await desk.all_tickets()
    assert ticket["topic_path"] == longest[:200]
