"""Statements on a real PostgreSQL: each made once, never changed by later data, whoever makes them and however often they start."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import polars as pl
import pytest

from closedloop.common.consumer.frontier import GRACE
from closedloop.common.events.decoder import check, check_topic, decode_structured
from closedloop.common.events.model import IndicatorBreached, IndicatorRecovered
from closedloop.common.postgres.pool import Pool, create_pool
from closedloop.kpi import statement_store
from closedloop.kpi import store as segment_store
from closedloop.kpi.domain.buckets import Bucketing, encode
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.statement import EPOCH, minute_at
from closedloop.kpi.domain.stating import DAY
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.statements import Statements
from kpi.events import frame
from kpi.shipped import SHIPPED

FAILURES = SHIPPED.counted("order_failure_rate")  # breached above 15 % within an hour, from 50 orders on, per region
assert FAILURES is not None and FAILURES.threshold is not None
WATCHING_FAILURES = Catalogue([FAILURES])
ZONE = ZoneInfo("Asia/Shanghai")
NOON = (datetime(2025, 3, 18, 12, tzinfo=UTC) - EPOCH) // timedelta(minutes=1)

Row = dict[str, Any]


class Buckets:
    """Minute buckets in memory, in place of those that the consumer writes."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def add(self, region: str | None, minute: int, failed: int, ended: int) -> None:
        self._rows.append({"region": region, "minute": minute, "numerator": failed, "denominator": ended, "sample": ended})

    async def contents(self, topic: str) -> Mapping[int, str]:
        days = [row["minute"] // DAY for row in self._rows]
        return {day: str(days.count(day)) for day in sorted(set(days))}

    async def totals(self, indicator: EventIndicator, group_by: Sequence[str], from_minute: int, to_minute: int) -> pl.DataFrame:
        quantities = ("numerator", "denominator", "sample")
        schema = {"region": pl.String, "minute": pl.Int32} | dict.fromkeys(quantities, pl.Float64)
        frame = pl.DataFrame(self._rows, schema=schema).filter(pl.col("minute").is_between(from_minute, to_minute, closed="left"))
        return frame.group_by(*group_by, "minute").agg(pl.col(quantities).sum())


@pytest.fixture
async def pool(kpi_url: str) -> AsyncIterator[Pool]:
    """The service's own role on its migrated schema."""
    pool = await create_pool(kpi_url, "kpi-test")
    yield pool
    await pool.close()


@pytest.fixture
def buckets() -> Buckets:
    return Buckets()


async def reach(pool: Pool, minute: int, topic: str = "orders") -> None:
    """Let event time have come to 60 s after the minute: statements may be made at it."""
    await pool.execute(
        """INSERT INTO consumer_offset (topic, partition, next_offset, cluster_id, topic_id, watermark)
           VALUES ($1, 0, 1, 'c', 't', $2)
           ON CONFLICT (topic, partition) DO UPDATE SET watermark = EXCLUDED.watermark""",
        topic,
        minute_at(minute + 1),
    )


def statements_on(
    pool: Pool, catalogue: Catalogue, buckets: Any, said: Callable[[], None] = lambda: None, **how: Any
) -> Statements:
    async def frontier(topic: str) -> datetime | None:
        reached: datetime | None = await pool.fetchval("SELECT watermark FROM consumer_offset WHERE topic = $1", topic)
        return None if reached is None else reached - GRACE

    return Statements(pool, frontier, catalogue, buckets, ZONE, said, **how)


async def said(pool: Pool) -> list[tuple[int, str, str, str]]:
    """(minutes from noon, series, kind, reason) of all that was ever stated."""
    rows = await pool.fetch("SELECT * FROM statement_history ORDER BY id")
    return [((row["at"] - minute_at(NOON)) // timedelta(minutes=1), row["series"], row["kind"], row["reason"]) for row in rows]


async def state(statements: Statements) -> None:
    while await statements.state_all():
        pass


NJ = "order_failure_rate?region=NJ"
SZ = "order_failure_rate?region=SZ"


async def test_a_breach_and_its_end_are_stated_once_and_published(pool: Pool, buckets: Buckets) -> None:
    wakes: list[bool] = []
    statements = statements_on(pool, WATCHING_FAILURES, buckets, lambda: wakes.append(True))
    buckets.add("NJ", NOON, failed=20, ended=100)
    buckets.add("SZ", NOON, failed=10, ended=100)
    for minute in range(NOON, NOON + 90, 7):
        await reach(pool, minute)
        await state(statements)
        await state(statements)
    assert await said(pool) == [(1, NJ, "breached", "critical"), (61, NJ, "recovered", "no data")]
    assert len(wakes) == 2

    rows = await pool.fetch("SELECT * FROM outbox ORDER BY seq")
    assert [row["topic"] for row in rows] == ["indicators", "indicators"]
    assert {row["key"] for row in rows} == {NJ}
    breached, recovered = (decode_structured(row["payload"]) for row in rows)
    assert isinstance(breached, IndicatorBreached)
    assert isinstance(recovered, IndicatorRecovered)
    for event in (breached, recovered):
        check_topic(event, "indicators")
        assert event.subject == NJ
    assert check(breached, minute_at(NOON + 2)) == minute_at(NOON + 1)
    assert breached.data.value == 20.0
    assert (breached.data.numerator, breached.data.denominator, breached.data.sample) == (20.0, 100.0, 100)
    assert (breached.data.threshold, breached.data.better, breached.data.owner) == (15.0, "lower", "it_support")
    assert (breached.data.window_start, breached.data.window_end) == ("2025-03-18T11:01:00Z", "2025-03-18T12:01:00Z")
    assert (breached.data.dimensions, breached.data.region) == ({"region": "NJ"}, "NJ")
    assert recovered.data.value is None
    assert int(breached.sequence or 0) < int(recovered.sequence or 0)


async def test_nothing_is_stated_before_the_minute_is_complete(pool: Pool, buckets: Buckets) -> None:
    statements = statements_on(pool, WATCHING_FAILURES, buckets)
    buckets.add("NJ", NOON, failed=100, ended=100)
    await state(statements)  # no position yet: nothing is known about time
    await reach(pool, NOON)
    await state(statements)
    assert await said(pool) == []
    await reach(pool, NOON + 1)
    await state(statements)
    assert len(await said(pool)) == 1


async def test_late_events_change_no_statement_that_was_made(pool: Pool, buckets: Buckets) -> None:
    statements = statements_on(pool, WATCHING_FAILURES, buckets)
    buckets.add("NJ", NOON, failed=0, ended=60)
    await reach(pool, NOON + 10)
    await state(statements)
    buckets.add("NJ", NOON + 2, failed=60, ended=60)
    await state(statements)
    assert await said(pool) == []
    await reach(pool, NOON + 12)
    await state(statements)
    assert await said(pool) == [(11, NJ, "breached", "critical")]


async def test_a_series_never_seen_begins_at_its_first_bucket_however_old(pool: Pool, buckets: Buckets) -> None:
    statements = statements_on(pool, WATCHING_FAILURES, buckets)
    buckets.add("NJ", NOON, failed=0, ended=60)
    await reach(pool, NOON + 10)
    await state(statements)
    # last year's events of another region are replayed, while today's go on: time is where the replay is
    long_ago = NOON - 365 * DAY
    buckets.add("SZ", long_ago, failed=60, ended=60)
    buckets.add("NJ", long_ago, failed=60, ended=60)
    await reach(pool, long_ago + 2)
    await state(statements)
    buckets.add("SZ", long_ago + 5, failed=0, ended=600)
    await reach(pool, long_ago + 40)
    await state(statements)
    await reach(pool, NOON + 20)
    await state(statements)
    begin = long_ago - NOON
    assert await said(pool) == [(begin + 1, SZ, "breached", "critical"), (begin + 6, SZ, "recovered", "back")]
    rows = await pool.fetch("SELECT series, stated_until FROM statement_series ORDER BY series")
    assert [(row["series"], row["stated_until"]) for row in rows] == [(NJ, NOON + 20), (SZ, NOON + 20)]


async def test_a_bucket_ahead_of_the_frontier_is_found_when_time_gets_there(pool: Pool, buckets: Buckets) -> None:
    statements = statements_on(pool, WATCHING_FAILURES, buckets)
    buckets.add("NJ", NOON, failed=0, ended=60)
    await reach(pool, NOON + 10)
    await state(statements)
    # a replay begins, and one of its partitions is three days ahead
    long_ago = NOON - 100 * DAY
    buckets.add("NJ", long_ago, failed=0, ended=60)
    buckets.add("SZ", long_ago + 3 * DAY, failed=60, ended=60)
    await reach(pool, long_ago + 2)
    await state(statements)
    await reach(pool, long_ago + 5 * DAY)
    await state(statements)
    assert [(at - long_ago + NOON - 3 * DAY, series) for at, series, _, _ in await said(pool)] == [(1, SZ), (61, SZ)]


async def test_who_read_an_older_state_writes_nothing(pool: Pool) -> None:
    async with pool.acquire() as connection:
        progress = await statement_store.read_progress(connection, "orders", [])
        assert await statement_store.advance(connection, "orders", progress.version)
        assert not await statement_store.advance(connection, "orders", progress.version)
        again = await statement_store.read_progress(connection, "orders", [])
        assert await statement_store.advance(connection, "orders", again.version)


async def test_a_long_history_is_stated_in_parts_to_the_same_effect(pool: Pool, buckets: Buckets) -> None:
    statements = statements_on(pool, WATCHING_FAILURES, buckets)
    for day in range(200):
        buckets.add("NJ", NOON + day * DAY, failed=60 * (day % 3 == 0), ended=60)
    await reach(pool, NOON + 200 * DAY)
    rounds = 1
    while await statements.state_topic("orders"):
        rounds += 1
    assert rounds == 4
    expected = [(day * DAY + offset, kind) for day in range(0, 200, 3) for offset, kind in ((1, "breached"), (61, "recovered"))]
    assert [(at, kind) for at, _, kind, _ in await said(pool)] == expected


async def test_a_restarted_service_goes_on_where_the_last_one_stopped(pool: Pool, buckets: Buckets) -> None:
    buckets.add("NJ", NOON, failed=20, ended=100)
    for minute in (NOON + 2, NOON + 30, NOON + 80):
        await reach(pool, minute)
        await state(statements_on(pool, WATCHING_FAILURES, buckets))
    assert [(at, kind) for at, _, kind, _ in await said(pool)] == [(1, "breached"), (61, "recovered")]


async def test_two_processes_state_everything_once(pool: Pool, buckets: Buckets) -> None:
    several = [statements_on(pool, WATCHING_FAILURES, buckets) for _ in range(3)]
    for region in range(30):
        buckets.add(f"R{region}", NOON, failed=60, ended=60)
    for minute in range(NOON + 1, NOON + 80, 13):
        await reach(pool, minute)
        await asyncio.gather(*(state(statements) for statements in several))
    stated = await said(pool)
    assert len(stated) == len(set(stated)) == 60
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 60


async def test_orders_without_a_region_say_nothing(pool: Pool, buckets: Buckets) -> None:
    buckets.add(None, NOON, failed=60, ended=60)
    await reach(pool, NOON + 5)
    await state(statements_on(pool, WATCHING_FAILURES, buckets))
    assert await said(pool) == []


async def test_a_threshold_that_is_withdrawn_ends_its_breach(pool: Pool, buckets: Buckets) -> None:
    buckets.add("NJ", NOON, failed=60, ended=60)
    await reach(pool, NOON + 5)
    await state(statements_on(pool, WATCHING_FAILURES, buckets))
    await state(statements_on(pool, Catalogue([]), buckets))
    assert await said(pool) == [(1, NJ, "breached", "critical"), (6, NJ, "recovered", "threshold withdrawn")]
    assert await pool.fetchval("SELECT count(*) FROM statement_series") == 0


async def test_it_runs_until_it_is_stopped(pool: Pool, buckets: Buckets) -> None:
    stated = asyncio.Event()
    statements = statements_on(pool, WATCHING_FAILURES, buckets, stated.set, interval_s=0.01)
    running = asyncio.create_task(statements.run())
    buckets.add("NJ", NOON, failed=60, ended=60)
    await reach(pool, NOON + 5)
    await asyncio.wait_for(stated.wait(), 20)
    statements.stop()
    await asyncio.wait_for(running, 5)
    assert [kind for _, _, kind, _ in await said(pool)] == ["breached"]


async def test_buckets_of_the_store_are_stated(pool: Pool) -> None:
    segments = [("NJ", "failed", 12), ("NJ", "completed", 48), ("NJ", "submitted", 60), ("SZ", "completed", 60)]
    order = {"type": "order.status_changed.v1", "order_type": "plan_change", "at": minute_at(NOON)}
    for region, status, number in segments:  # each a batch of its own
        events = frame("orders", *([order | {"region": region, "status": status}] * number))
        folded = Bucketing.of(WATCHING_FAILURES, "orders").fold(events)
        day = NOON // DAY
        segment = segment_store.Segment("bucket", "orders", day, segment_store.ALL_PARTITIONS, 1, number, encode(folded))
        async with pool.acquire() as connection:
            await segment_store.insert(connection, [segment])
    statements = statements_on(pool, WATCHING_FAILURES, BucketReader(pool, WATCHING_FAILURES, max_bytes=10_000_000))
    await reach(pool, NOON + 100)
    await state(statements)
    assert await said(pool) == [(1, NJ, "breached", "critical"), (61, NJ, "recovered", "no data")]
    data = await pool.fetchval("SELECT data FROM statement_history ORDER BY id LIMIT 1")
    assert (data["value"], data["numerator"], data["denominator"], data["sample"]) == (20.0, 12.0, 60.0, 60)


async def test_the_history_can_only_be_added_to(pool: Pool, buckets: Buckets) -> None:
    buckets.add("NJ", NOON, failed=60, ended=60)
    await reach(pool, NOON + 5)
    await state(statements_on(pool, WATCHING_FAILURES, buckets))
    for statement in ("UPDATE statement_history SET reason = 'back'", "DELETE FROM statement_history"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)
    assert await pool.fetchval("SELECT stated_by FROM statement_history") == "kpi"
