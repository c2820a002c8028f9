"""A topic, a database and consumer loops on demand, for tests on real Kafka and PostgreSQL."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.brake import Brake
from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.loop import ConsumerLoop
from closedloop.common.consumer.positions import CONSUMER_OFFSET_DDL
from closedloop.common.consumer.processor import Decoded
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
        self,
        dead_letters: DeadLetters | None = None,
        brake: Brake | None = None,
        processor: Counting | None = None,
        make_source: Callable[..., KafkaSource] = KafkaSource,
    ) -> AsyncIterator[tuple[ConsumerLoop[Sequence[Record]], asyncio.Task[None]]]:
        source = make_source(self.kafka, f"group-{self.topic}", [self.topic], session_timeout_ms=6000)
        letters = dead_letters or DeadLetters(self.kafka, self.sink, SERVICE)
        loop = ConsumerLoop(source, self.pool, letters, processor or Counting(self.topic), brake=brake)
        task = asyncio.create_task(loop.run())
        try:
            yield loop, task
        finally:
            loop.stop()
            await asyncio.wait([task], timeout=15)

    async def make_dead_letter_topic(self) -> None:
        name = dead_letter_name(self.topic, SERVICE)
        await ensure_topics(self.kafka, (Topic(name, "k", (), (), "", partitions=PARTITIONS),))

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


@contextlib.asynccontextmanager
async def made(bootstrap: str, database_url: str, topic: str, *, dead_letters: bool = True) -> AsyncIterator[Bench]:
    """The bench on these servers."""
    kafka = KafkaSettings(bootstrap=bootstrap)
    await ensure_topics(kafka, (Topic(topic, "k", (), (), "", partitions=PARTITIONS),))
    pool = await create_pool(database_url, SERVICE)
    await pool.execute(CONSUMER_OFFSET_DDL)
    await pool.execute("CREATE TABLE effect (value integer NOT NULL)")
    sink = KafkaSink(kafka, "bench")
    bench = Bench(kafka, topic, pool, sink)
    if dead_letters:
        await bench.make_dead_letter_topic()
    yield bench
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
