"""The consumer while its servers are away: it says nothing that it cannot know, comes back by itself, and stops in time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.frontier import Frontier
from closedloop.common.consumer.loop import ConsumerLoop
from closedloop.common.kafka import sink
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.end_offsets import EndOffsets
from closedloop.common.kafka.sink import KafkaSink
from closedloop.common.kafka.source import KafkaSource, Record
from closedloop.common.outbox.relay import Relay
from closedloop.common.outbox.store import OUTBOX_DDL
from closedloop.common.postgres.pool import create_pool
from closedloop.common.service import STOP_JOBS_S, jobs_running
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer
from common.consumer_bench import SERVICE, Bench, Counting, made, read_all, until

STOP_S = 9.0
"""The local stack kills what has not ended by then."""


@pytest.fixture
def server(server_folder: Path) -> Iterator[KafkaServer]:
    server = KafkaServer(server_folder / "kafka", free_port())
    server.start()
    try:
        yield server
    finally:
        server.resume()
        server.kill()


@pytest.fixture
async def bench(server: KafkaServer, database_url: str, unique_name: str) -> AsyncIterator[Bench]:
    async with made(server.bootstrap, database_url, unique_name) as bench:
        yield bench


async def test_a_process_that_has_joined_stays_ready_while_kafka_is_away_and_says_that_it_is(
    bench: Bench, server: KafkaServer
) -> None:
    async with bench.loop() as (loop, _):

        async def works() -> bool:
            return loop.not_ready() is None and loop.idle_because() is None

        async def waits() -> bool:
            assert loop.not_ready() is None
            return "waits for Kafka" in (loop.idle_because() or "")

        assert "has not joined" in (loop.not_ready() or "")
        await until(works)
        server.kill()
        await until(waits)
        await asyncio.to_thread(server.start)
        await until(works)
        await bench.send("1")
        await read_all(bench, 1)


async def stopped_in_time(loop: ConsumerLoop[Sequence[Record]], task: "asyncio.Task[None]") -> float:
    began = time.monotonic()
    loop.stop()
    await asyncio.wait([task], timeout=60)
    took = time.monotonic() - began
    assert task.done() and task.exception() is None
    return took


@pytest.mark.parametrize("away", ["killed", "frozen"])
async def test_while_kafka_is_away_nothing_is_called_read_and_it_stops_in_time(
    bench: Bench, server: KafkaServer, away: str
) -> None:
    await bench.send("1", "2")
    ends = EndOffsets(bench.kafka)
    frontier = Frontier(bench.pool, ends)
    async with bench.loop() as (loop, task):
        await read_all(bench, 2)

        async def known() -> bool:
            with contextlib.suppress(KafkaError):
                return await frontier.read(bench.topic) is not None
            return False

        await bench.pool.execute("UPDATE consumer_offset SET moved_at = moved_at - interval '2 minutes'")
        await until(known)
        (server.kill if away == "killed" else server.pause)()
        for _ in range(3):
            with pytest.raises(KafkaError):
                await frontier.read(bench.topic)
        assert not task.done()
        assert await stopped_in_time(loop, task) < STOP_S
        server.resume()
        if away == "killed":
            await asyncio.to_thread(server.start)
        await until(known)
    await ends.stop()


async def test_a_frozen_kafka_in_the_middle_of_a_rebalance_does_not_hold_up_the_stop(bench: Bench, server: KafkaServer) -> None:
    await bench.send("1")
    async with bench.loop() as (first, task):
        await read_all(bench, 1)
        async with bench.loop() as (second, other):
            while not _rebalancing(first):
                await asyncio.sleep(0.001)
            server.pause()
            await asyncio.sleep(2)
            assert await stopped_in_time(first, task) < STOP_S
            assert await stopped_in_time(second, other) < STOP_S


def _rebalancing(loop: ConsumerLoop[Sequence[Record]]) -> bool:
    return bool(loop._source._consumer._subscription.reassignment_in_progress)


async def test_a_producer_that_was_given_up_does_not_try_for_ever(
    bench: Bench, server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "PUBLISH_TIMEOUT_S", 2.0)
    monkeypatch.setattr(sink, "STOP_TIMEOUT_S", 1.0)
    await bench.send("1")
    server.kill()
    with pytest.raises((KafkaError, TimeoutError)):
        await bench.send("2")
    assert [t for t in asyncio.all_tasks() if "Sender" in getattr(t.get_coro(), "__qualname__", "")] == []


async def test_stops_in_time_where_kafka_was_never_there(database_url: str) -> None:
    pool = await create_pool(database_url, SERVICE)
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")
    letters = DeadLetters(kafka, KafkaSink(kafka, "bench"), SERVICE)
    loop = ConsumerLoop(KafkaSource(kafka, "group", ["topic"]), pool, letters, Counting("topic"))
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(1)
    assert not task.done()
    assert "has not joined its consumer group since its start" in (loop.not_ready() or "")
    assert await stopped_in_time(loop, task) < STOP_S
    await pool.close()


async def test_a_missing_dead_letter_topic_is_named_and_waited_for(
    kafka_bootstrap: str, database_url: str, unique_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with made(kafka_bootstrap, database_url, unique_name, dead_letters=False) as bench:
        await bench.send("1", "poison")
        async with bench.loop() as (_, task):
            said = ""

            async def named() -> bool:
                nonlocal said
                said += capsys.readouterr().out
                return f"{unique_name}-{SERVICE}-dlq has no partition" in said and "topics --create" in said

            await until(named)
            assert not task.done()
            await bench.make_dead_letter_topic()
            await read_all(bench, 2)
        assert len(await bench.dead_letters()) == 1


async def test_a_frozen_postgresql_does_not_hold_up_the_stop(kafka_bootstrap: str, server_folder: Path, unique_name: str) -> None:
    server = PostgresServer(server_folder / "postgres", free_port(), password="frozen")
    await asyncio.to_thread(server.start)
    try:
        async with made(kafka_bootstrap, server.admin_url, unique_name) as bench:
            await bench.pool.execute(OUTBOX_DDL)
            await bench.send("1")
            source = KafkaSource(bench.kafka, f"group-{unique_name}", [unique_name], session_timeout_ms=6000)
            loop = ConsumerLoop(source, bench.pool, DeadLetters(bench.kafka, bench.sink, SERVICE), Counting(unique_name))
            async with jobs_running(consumer=loop, relay=Relay(bench.pool, bench.sink)):
                await read_all(bench, 1)
                server.pause()
                await bench.send("2")
                await asyncio.sleep(2)
                began = time.monotonic()
            took = time.monotonic() - began
            # as at the end of a process: no connections, and what is left is cancelled
            bench.pool.terminate()
            left = [task for task in asyncio.all_tasks() if task.get_name() in ("consumer", "relay")]
            if left:
                await asyncio.wait(left, timeout=STOP_S)
            assert all(task.done() for task in left)
            assert took < STOP_JOBS_S + 4
    finally:
        server.resume()
        server.kill()
