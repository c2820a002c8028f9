"""What a service says leaves in order per key, never before its transaction, at least once and always under the same id."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from closedloop.common.events import model
from closedloop.common.events.topics import RECOVERIES
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.common.outbox.relay import Relay
from closedloop.common.outbox.store import OUTBOX_DDL, Outgoing, own_event, put
from closedloop.common.postgres.pool import Pool, create_pool


def queued(customer: str, version: int) -> Outgoing:
    from datetime import UTC, datetime

    data = model.RecoveryData(recovery_id=customer, customer_id=customer, region="NJ", deadline="…", segment="hotline")
    event = own_event(
        model.RecoveryQueued,
        id=f"{customer}/{version}",
        source="/closedloop/recovery",
        at=datetime(2026, 11, 20, tzinfo=UTC),
        subject=customer,
        sequence=version,
        data=data,
    )
    return Outgoing(customer, event)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database_url, "test")
    await pool.execute(OUTBOX_DDL)
    yield pool
    await pool.close()


@pytest.fixture
async def kafka(kafka_bootstrap: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(settings, (RECOVERIES,))
    return settings


@contextlib.asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        relay.stop()
        await asyncio.wait_for(task, 15)


async def emptied(pool: Pool) -> None:
    deadline = time.monotonic() + 30
    while await pool.fetchval("SELECT count(*) FROM outbox"):
        assert time.monotonic() < deadline, "the outbox was not emptied"
        await asyncio.sleep(0.02)


async def said(kafka: KafkaSettings, prefix: str) -> list[str]:
    """The ids in the topic that begin with `prefix`, partition by partition in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap)
    await consumer.start()
    try:
        partitions = [TopicPartition(RECOVERIES.name, p) for p in range(RECOVERIES.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for tp in partitions:
            consumer.seek(tp, 0)
        ids: list[str] = []
        while sum([await consumer.position(tp) for tp in partitions]) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                ids += [json.loads(r.value)["id"] for r in records]
        return [i for i in ids if i.startswith(prefix)]
    finally:
        await consumer.stop()


async def test_messages_leave_in_order_per_key_and_only_when_committed(pool: Pool, kafka: KafkaSettings, unique_name: str) -> None:
    sink = KafkaSink(kafka, "test")
    relay = Relay(pool, sink)
    async with running(relay), pool.acquire() as connection:
        with contextlib.suppress(RuntimeError):
            async with connection.transaction():
                await put(connection, [queued(f"{unique_name}-never", 1)])
                raise RuntimeError("rolled back")
        for version in range(1, 40):
            async with connection.transaction():
                await put(connection, [queued(f"{unique_name}-{c}", version) for c in "abc"])
            relay.wake()
        await emptied(pool)
    await sink.stop()
    ids = await said(kafka, unique_name)
    for customer in "abc":
        of_one = [i for i in ids if i.startswith(f"{unique_name}-{customer}/")]
        assert of_one == [f"{unique_name}-{customer}/{version}" for version in range(1, 40)]
    assert len(ids) == 3 * 39


async def test_the_same_statement_is_put_once(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await put(connection, [queued("c", 1)])
        await put(connection, [queued("c", 1), queued("c", 2)])
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 2


async def test_an_absent_field_is_left_out_on_the_wire(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await put(connection, [queued("c", 1)])
    sent = json.loads(await pool.fetchval("SELECT payload FROM outbox"))
    assert sent["type"] == "recovery.queued.v1"
    assert sent["sequence"] == "1"
    assert "reason" not in sent["data"] and "traceparent" not in sent


class AcknowledgedThenAway(KafkaSink):
    """Kafka has the messages, but its answer is lost, once."""

    lost = 1

    async def publish(self, messages: Sequence[Message]) -> None:
        await super().publish(messages)
        if self.lost:
            self.lost -= 1
            raise KafkaConnectionError


async def test_an_unknown_outcome_is_said_again_under_the_same_id(pool: Pool, kafka: KafkaSettings, unique_name: str) -> None:
    sink = AcknowledgedThenAway(kafka, "test")
    async with pool.acquire() as connection:
        await put(connection, [queued(unique_name, 1)])
    async with running(Relay(pool, sink)):
        await emptied(pool)
    await sink.stop()
    assert await said(kafka, unique_name) == [f"{unique_name}/1", f"{unique_name}/1"]


async def test_one_relay_at_a_time_and_a_holder_that_ends_gives_way(pool: Pool, kafka: KafkaSettings, unique_name: str) -> None:
    sink = KafkaSink(kafka, "test")
    async with pool.acquire() as frozen, pool.acquire() as connection:
        transaction = frozen.transaction()
        await transaction.start()
        await frozen.execute("SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.outbox'))")
        await put(connection, [queued(unique_name, 1)])
        async with running(Relay(pool, sink)):
            await asyncio.sleep(1.2)
            assert await pool.fetchval("SELECT count(*) FROM outbox") == 1
            await transaction.rollback()
            await emptied(pool)
    await sink.stop()
    assert await said(kafka, unique_name) == [f"{unique_name}/1"]


async def test_a_message_too_large_for_an_event_is_never_put(pool: Pool) -> None:
    large = queued("c" * 300_000, 1)
    async with pool.acquire() as connection:
        with pytest.raises(ValueError, match=r"RecoveryQueued .* is .* bytes; the limit is"):
            await put(connection, [queued("a", 1), large])
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_message_that_kafka_refuses_is_named_and_what_stood_before_it_leaves(
    pool: Pool, kafka: KafkaSettings, unique_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with pool.acquire() as connection:
        await put(connection, [queued(unique_name, 1), queued(unique_name, 2)])
    await pool.execute("UPDATE outbox SET payload = decode(repeat('00', 3000000), 'hex') WHERE id LIKE '%/2'")
    sink = KafkaSink(kafka, "test")
    async with running(Relay(pool, sink)):
        said = ""
        for _ in range(200):
            await asyncio.sleep(0.05)
            said += capsys.readouterr().out
            if f"oldest={unique_name}/2" in said:
                break
    await sink.stop()
    assert f"oldest={unique_name}/2" in said and "3000" in said
    assert [row["id"] for row in await pool.fetch("SELECT id FROM outbox")] == [f"{unique_name}/2"]
