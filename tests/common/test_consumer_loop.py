"""The consumer loop on real Kafka and PostgreSQL: every record has its effect once, or stands once in the dead letters."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.brake import Brake
from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.failures import PositionRefused, Rejection
from closedloop.common.consumer.loop import ConsumerLoop, Decoded
from closedloop.common.consumer.positions import CONSUMER_OFFSET_DDL
from closedloop.common.events.topics import Topic, dead_letter_name
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.common.kafka.source import KafkaSource, Record
from closedloop.common.postgres.pool import Connection, Pool, create_pool

SERVICE = "counter"
PARTITIONS = 3
DEADLINE_S = 40


class Counting:
    """Inserts each value as an integer. `poison…` is refused when read, `bug…` breaks the code, other text the database."""

    def __init__(self, topic: str) -> None:
        self.topics = [topic]
        self.resets = 0

    def decode(self, batch: Batch) -> Decoded[Sequence[Record]]:
        poison = [r for r in batch.records() if r.value.startswith(b"poison")]
        good = [r for r in batch.records() if not r.value.startswith(b"poison")]
        return Decoded(good, [Rejection(r, "decode", "json", "is poison") for r in poison])

    async def apply(self, connection: Connection, payload: Sequence[Record]) -> Sequence[Rejection]:
        if any(r.value.startswith(b"bug") for r in payload):
            raise RuntimeError("a defect in the service")
        await connection.execute(
            "INSERT INTO effect SELECT v::int FROM unnest($1::text[]) AS v", [r.value.decode() for r in payload]
        )
        return ()

    def committed(self, payload: Sequence[Record]) -> None:
        pass

    def reset(self) -> None:
        self.resets += 1


@dataclass
class Bench:
    """One topic, one database, and loops on demand."""

    kafka: KafkaSettings
    topic: str
    pool: Pool
    sink: KafkaSink

    @contextlib.asynccontextmanager
    async def loop(
        self, dead_letters: DeadLetters | None = None, brake: Brake | None = None
    ) -> AsyncIterator[tuple[ConsumerLoop[Sequence[Record]], asyncio.Task[None]]]:
        source = KafkaSource(self.kafka, f"group-{self.topic}", [self.topic], session_timeout_ms=6000)
        letters = dead_letters or DeadLetters(self.kafka, self.sink, SERVICE)
        loop = ConsumerLoop(source, self.pool, letters, Counting(self.topic), brake=brake)
        task = asyncio.create_task(loop.run())
        try:
            yield loop, task
        finally:
            loop.stop()
            await asyncio.wait([task], timeout=15)

    async def send(self, *values: str) -> None:
        await self.sink.publish([Message(self.topic, v.encode(), v.encode()) for v in values])

    async def effects(self) -> list[int]:
        return [row["value"] for row in await self.pool.fetch("SELECT value FROM effect ORDER BY value")]

    async def positions(self) -> int:
        return int(await self.pool.fetchval("SELECT coalesce(sum(next_offset), 0) FROM consumer_offset"))

    async def dead_letters(self) -> list[Record]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap)
        await consumer.start()
        try:
            tps = [TopicPartition(dead_letter_name(self.topic, SERVICE), p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            for tp, offset in (await consumer.beginning_offsets(tps)).items():
                consumer.seek(tp, offset)  # seek_to_beginning loses against the reset to the latest
            found: list[Record] = []
            while sum([await consumer.position(tp) for tp in tps]) < sum(ends.values()):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += records
            return found
        finally:
            await consumer.stop()


@pytest.fixture
async def bench(kafka_bootstrap: str, database_url: str, unique_name: str) -> AsyncIterator[Bench]:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    names = (unique_name, dead_letter_name(unique_name, SERVICE))
    await ensure_topics(kafka, tuple(Topic(n, "k", (), (), "", partitions=PARTITIONS) for n in names))
    pool = await create_pool(database_url, SERVICE)
    await pool.execute(CONSUMER_OFFSET_DDL)
    await pool.execute("CREATE TABLE effect (value integer NOT NULL)")
    sink = KafkaSink(kafka, "bench")
    yield Bench(kafka, unique_name, pool, sink)
    await sink.stop()
    await pool.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < deadline, "not reached in time"
        await asyncio.sleep(0.05)


async def read_all(bench: Bench, count: int) -> None:
    async def done() -> bool:
        return await bench.positions() == count

    await until(done)


async def test_every_record_has_its_effect_once_and_poison_stands_once_in_the_dead_letters(bench: Bench) -> None:
    values = [str(i) for i in range(500)]
    await bench.send(*values[:250], "poison-1", *values[250:], "poison-2")
    async with bench.loop():
        await read_all(bench, 502)
    assert await bench.effects() == list(range(500))
    letters = await bench.dead_letters()
    assert sorted(r.value for r in letters) == [b"poison-1", b"poison-2"]
    headers = dict(letters[0].headers)
    assert headers["x-error-topic"] == bench.topic.encode()
    assert headers["x-error-stage"] == b"decode"
    assert headers["x-error-message"] == b"is poison"
    assert letters[0].partition == int(headers["x-error-partition"])


async def test_a_new_process_goes_on_where_the_last_one_committed(bench: Bench) -> None:
    await bench.send("1", "2", "3")
    async with bench.loop():
        await read_all(bench, 3)
    await bench.send("4", "5")
    async with bench.loop():
        await read_all(bench, 5)
    assert await bench.effects() == [1, 2, 3, 4, 5]


async def test_a_record_that_the_database_refuses_or_that_meets_a_bug_is_isolated_and_the_others_pass(bench: Bench) -> None:
    await bench.send(*[str(i) for i in range(40)], "not-a-number", "bug-1", *[str(i) for i in range(40, 80)])
    async with bench.loop():
        await read_all(bench, 82)
    assert await bench.effects() == list(range(80))
    by_value = {r.value: dict(r.headers) for r in await bench.dead_letters()}
    assert by_value.keys() == {b"not-a-number", b"bug-1"}
    assert by_value[b"not-a-number"]["x-error-stage"] == b"data"
    assert by_value[b"bug-1"]["x-error-stage"] == b"bug"
    assert by_value[b"bug-1"]["x-error-attempts"] == b"3"
    assert b"defect" not in by_value[b"bug-1"]["x-error-message"]


async def test_a_position_moved_by_another_member_makes_the_batch_void(bench: Bench) -> None:
    await bench.send("1")
    async with bench.loop():
        await read_all(bench, 1)
        # what a stalled process finds when it wakes: the others have read on
        await bench.pool.execute("UPDATE consumer_offset SET next_offset = next_offset + 1 WHERE next_offset > 0")
        part = await bench.pool.fetchval("SELECT partition FROM consumer_offset WHERE next_offset > 0")
        await bench.sink.publish([Message(bench.topic, b"k", str(v).encode(), partition=part) for v in (2, 3)])
        await read_all(bench, 3)
    assert await bench.effects() == [1, 3]


class AcknowledgedThenFails(DeadLetters):
    """Kafka has the dead letters, but the transaction does not get to its end, once."""

    failures = 1

    async def publish(self, rejections: Sequence[Rejection]) -> None:
        await super().publish(rejections)
        if rejections and self.failures:
            self.failures -= 1
            raise ConnectionResetError


async def test_dead_letters_are_not_written_again_when_their_batch_comes_again(bench: Bench) -> None:
    await bench.send("1", "poison", "2")
    async with bench.loop(AcknowledgedThenFails(bench.kafka, bench.sink, SERVICE)):
        await read_all(bench, 3)
    assert await bench.effects() == [1, 2]
    assert len(await bench.dead_letters()) == 1


class AcknowledgedThenDies(DeadLetters):
    """Kafka has the dead letters and the process ends there."""

    async def publish(self, rejections: Sequence[Rejection]) -> None:
        await super().publish(rejections)
        if rejections:
            raise asyncio.CancelledError


async def test_dead_letters_are_not_written_again_by_the_next_process(bench: Bench) -> None:
    await bench.send("poison-a", "poison-b", "7")
    async with bench.loop(AcknowledgedThenDies(bench.kafka, bench.sink, SERVICE)) as (_, task):
        await asyncio.wait([task], timeout=DEADLINE_S)
    assert await bench.positions() < 3
    async with bench.loop():
        await read_all(bench, 3)
    assert sorted(r.value for r in await bench.dead_letters()) == [b"poison-a", b"poison-b"]


async def test_a_hundred_rejections_in_a_row_pause_the_consumer_until_an_operator_resumes(bench: Bench) -> None:
    await bench.sink.publish([Message(bench.topic, b"k", b"poison-%d" % i, partition=0) for i in range(100)])
    async with bench.loop() as (loop, _):

        async def paused() -> bool:
            return loop.braked is not None

        await until(paused)
        assert "in a row" in (loop.not_ready() or "")
        assert await bench.dead_letters() == []
        assert await bench.positions() == 0
        loop.resume()
        await read_all(bench, 100)
    assert len(await bench.dead_letters()) == 100


async def test_other_servers_and_a_topic_made_anew_are_refused_with_a_way_out(bench: Bench) -> None:
    await bench.send("1")
    async with bench.loop():
        await read_all(bench, 1)
    for column, words in (("cluster_id", "another Kafka cluster"), ("topic_id", "deleted and made again")):
        before = await bench.pool.fetchval(f"SELECT {column} FROM consumer_offset LIMIT 1")
        await bench.pool.execute(f"UPDATE consumer_offset SET {column} = 'other'")
        async with bench.loop() as (_, task):
            with pytest.raises(PositionRefused, match=f"{words}.*offsets reset"):
                await asyncio.wait_for(task, DEADLINE_S)
        await bench.pool.execute(f"UPDATE consumer_offset SET {column} = $1", before)
    await bench.pool.execute("UPDATE consumer_offset SET next_offset = 1000")
    async with bench.loop() as (_, task):
        with pytest.raises(PositionRefused, match="outside of what Kafka keeps"):
            await asyncio.wait_for(task, DEADLINE_S)


async def test_an_outage_of_the_database_is_waited_out_and_never_becomes_a_dead_letter(bench: Bench) -> None:
    await bench.send("1")
    async with bench.loop():
        await read_all(bench, 1)
        # 57P01 is what a restart of the server says to every session
        await bench.pool.execute("ALTER TABLE effect RENAME TO effect_away")
        await bench.pool.execute(
            "CREATE FUNCTION shut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '57P01'; END $$"
        )
        await bench.pool.execute("CREATE TABLE effect (value integer NOT NULL)")
        await bench.pool.execute("CREATE TRIGGER shut BEFORE INSERT ON effect EXECUTE FUNCTION shut()")
        await bench.send("2", "3")
        await asyncio.sleep(1.5)
        assert await bench.positions() == 1
        await bench.pool.execute("DROP TRIGGER shut ON effect")
        await read_all(bench, 3)
    assert await bench.effects() == [2, 3]
    assert await bench.dead_letters() == []


async def test_two_members_share_the_partitions_and_take_over_without_a_miscount(bench: Bench) -> None:
    async with bench.loop() as (first, _):
        await bench.send(*[str(i) for i in range(300)])
        await read_all(bench, 300)
        async with bench.loop() as (second, _):

            async def both_ready() -> bool:
                return first.not_ready() is None and second.not_ready() is None

            await until(both_ready)
            await bench.send(*[str(i) for i in range(300, 900)])
            await read_all(bench, 900)
        await bench.send(*[str(i) for i in range(900, 1000)])
        await read_all(bench, 1000)
    assert await bench.effects() == list(range(1000))
