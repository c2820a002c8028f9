"""Up to where statements may be made, on real Kafka and PostgreSQL: never past what stands unread, and never held by silence."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.frontier import GRACE, Frontier
from closedloop.common.consumer.processor import Decoded
from closedloop.common.kafka.end_offsets import EndOffsets
from closedloop.common.kafka.sink import Message
from closedloop.common.kafka.source import Record
from closedloop.common.postgres.pool import Connection
from common.consumer_bench import PARTITIONS, Bench, Counting, made, read_all, until

SPRING = datetime(2026, 3, 1, tzinfo=UTC)


class Timed(Counting):
    """Each value is the record's event time: seconds since 1970. Those from `held` on wait until they are let go."""

    def __init__(self, topic: str, held: datetime | None = None) -> None:
        super().__init__(topic)
        self.held = held
        self.let_go = asyncio.Event()

    def decode(self, batch: Batch) -> Decoded[Sequence[Record]]:
        watermarks = {part.partition: max(map(time_of, part.records)) for part in batch.slices}
        return Decoded(list(batch.records()), watermarks=watermarks)

    async def apply(self, connection: Connection, payload: Sequence[Record]) -> Sequence[Rejection]:
        if self.held is not None and any(time_of(record) >= self.held for record in payload):
            await self.let_go.wait()
        return await super().apply(connection, payload)


def time_of(record: Record) -> datetime:
    return datetime.fromtimestamp(int(record.value), UTC)


@pytest.fixture
async def bench(kafka_bootstrap: str, database_url: str, unique_name: str) -> AsyncIterator[Bench]:
    async with made(kafka_bootstrap, database_url, unique_name) as bench:
        yield bench


@pytest.fixture
async def frontier(bench: Bench) -> AsyncIterator[Frontier]:
    ends = EndOffsets(bench.kafka)
    yield Frontier(bench.pool, ends)
    await ends.stop()


async def send(bench: Bench, partition: int, *times: datetime) -> None:
    messages = [Message(bench.topic, b"k", str(int(at.timestamp())).encode(), partition=partition) for at in times]
    await bench.sink.publish(messages)


async def a_minute_passes(bench: Bench) -> None:
    await bench.pool.execute("UPDATE consumer_offset SET moved_at = moved_at - interval '2 minutes'")


async def become(frontier: Frontier, bench: Bench, expected: datetime) -> None:
    async def reached() -> bool:
        return await frontier.read(bench.topic) == expected

    await until(reached)


async def become_clock(frontier: Frontier, bench: Bench) -> None:
    async def reached() -> bool:
        found = await frontier.read(bench.topic)
        return found is not None and datetime.now(UTC) - found < GRACE + timedelta(seconds=5)

    await until(reached)


async def seen(frontier: Frontier, bench: Bench, seconds: float = 5) -> list[datetime | None]:
    """What the frontier is while the statement loops would look some times."""
    found = []
    until_then = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until_then:
        found.append(await frontier.read(bench.topic))
        await asyncio.sleep(0.2)
    return found


async def test_records_that_stand_unread_hold_statements_back_from_the_moment_they_arrive(bench: Bench, frontier: Frontier) -> None:
    async with bench.loop(processor=Timed(bench.topic)):
        await send(bench, 0, SPRING)
        await read_all(bench, 1)
        await a_minute_passes(bench)
        await become_clock(frontier, bench)
    # an import begins while nobody reads: two partitions have no event yet, and one of them gets its first
    await send(bench, 1, SPRING + timedelta(hours=1))
    assert set(await seen(frontier, bench)) == {None}
    async with bench.loop(processor=Timed(bench.topic)):
        await become(frontier, bench, SPRING + timedelta(hours=1) - GRACE)


async def test_a_silent_partition_holds_nothing_back_and_when_all_are_silent_the_clock_counts(
    bench: Bench, frontier: Frontier
) -> None:
    async with bench.loop(processor=Timed(bench.topic)):
        await send(bench, 0, SPRING)
        await read_all(bench, 1)
        await a_minute_passes(bench)
        await send(bench, 1, SPRING + timedelta(days=1))
        await become(frontier, bench, SPRING + timedelta(days=1) - GRACE)
        await a_minute_passes(bench)
        await become_clock(frontier, bench)


async def test_what_another_process_has_in_hand_holds_statements_back(bench: Bench, frontier: Frontier) -> None:
    held = SPRING + timedelta(days=1)
    ours, theirs = Timed(bench.topic, held), Timed(bench.topic, held)
    async with bench.loop(processor=ours) as (first, _), bench.loop(processor=theirs) as (second, _):

        async def shared() -> bool:
            loops = (first, second)
            return all(loop.idle_because() is None and loop._positions for loop in loops)

        await until(shared)
        for partition in range(PARTITIONS):
            await send(bench, partition, SPRING)
        await become(frontier, bench, SPRING - GRACE)
        for partition in range(PARTITIONS):
            await send(bench, partition, held)
        ours.let_go.set()
        assert max(found for found in await seen(frontier, bench) if found is not None) == SPRING - GRACE
        theirs.let_go.set()
        await become(frontier, bench, held - GRACE)


async def test_the_first_records_of_an_import_wait_for_those_that_are_on_their_way(bench: Bench, frontier: Frontier) -> None:
    async with bench.loop(processor=Timed(bench.topic)):
        await send(bench, 0, SPRING + timedelta(days=90))
        await read_all(bench, 1)
        await a_minute_passes(bench)
        await become_clock(frontier, bench)
        # what one request brought comes to the partitions one after the other, and a statement loop looks in between
        await send(bench, 1, SPRING + timedelta(days=30))
        await read_all(bench, 2)
        assert await frontier.read(bench.topic) is None
        await send(bench, 2, SPRING)
        await become(frontier, bench, SPRING - GRACE)


async def test_several_jobs_may_ask_for_the_ends_at_once(bench: Bench) -> None:
    await bench.send("1", "2")
    ends = EndOffsets(bench.kafka)
    places = [TopicPartition(bench.topic, partition) for partition in range(PARTITIONS)]
    first, second = await asyncio.gather(ends.ask(places), ends.ask(places))  # the first one connects
    await ends.stop()
    assert sum(first.values()) == 2
    assert second == first


async def test_a_transactions_mark_is_nothing_unread(bench: Bench, frontier: Frontier) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka.bootstrap, transactional_id=bench.topic)
    await producer.start()
    ends = EndOffsets(bench.kafka)
    async with bench.loop(processor=Timed(bench.topic)):
        async with producer.transaction():
            await producer.send(bench.topic, str(int(SPRING.timestamp())).encode(), partition=0)
        await producer.stop()
        [end] = (await ends.ask([TopicPartition(bench.topic, 0)])).values()
        assert end == 2  # the record and the mark
        await read_all(bench, 2)
        await a_minute_passes(bench)
        await become_clock(frontier, bench)
    await ends.stop()
    assert await bench.effects() == [int(SPRING.timestamp())]
