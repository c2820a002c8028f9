"""The service as it runs: its own process, real Kafka and PostgreSQL."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from closedloop.common.consumer.rows import Received
from closedloop.common.events.topics import COMPLAINTS
from closedloop.local.addresses import Ports
from closedloop.local.stack import Stack
from ticketing.desk import breached, complaint, escalated

NOW = datetime.now(UTC)
STRUCTURED = [("content-type", b"application/cloudevents+json")]


@pytest.fixture
async def stack(server_folder: Path) -> AsyncIterator[Stack]:
    """Its own servers: topics are the contract's, and the frontier is that of all that is in them."""
    settings = {"TICKETING_HOT_CUSTOMERS": "10", "TICKETING_SETTLE_S": "1"}
    stack = Stack(server_folder, Ports.free(), settings, services=("ticketing",))
    await asyncio.to_thread(stack.start)
    try:
        yield stack
    finally:
        await asyncio.to_thread(stack.stop)


async def publish(stack: Stack, *events: Received, partition: int | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stack.bootstrap, acks="all")
    await producer.start()
    try:
        for one in events:
            record = one.record
            await producer.send_and_wait(record.topic, record.value, record.key, partition, headers=STRUCTURED)
    finally:
        await producer.stop()


async def let_time_pass(stack: Stack) -> None:
    """A late word in every partition: what was before it may be stated."""
    for partition in range(COMPLAINTS.partitions):
        await publish(stack, complaint(NOW + timedelta(minutes=3), topic="clock"), partition=partition)


async def tickets_where(client: httpx2.AsyncClient, count: int, seconds: float) -> list[dict[str, Any]]:
    """All tickets, once there are so many."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await client.get("/v1/tickets")
        answer.raise_for_status()
        items: list[dict[str, Any]] = answer.json()["items"]
        if len(items) >= count or time.monotonic() > deadline:
            return items
        await asyncio.sleep(0.2)


async def test_events_become_tickets_and_tickets_become_events_also_over_a_kill(stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {stack.token('manager')}"}
    async with httpx2.AsyncClient(base_url=stack.url("ticketing"), headers=headers, timeout=10) as client:
        await publish(stack, escalated(NOW, topic="top_up/not_credited"), breached(NOW))
        assert {t["cause"] for t in await tickets_where(client, 2, 20)} == {
            "topic:top_up/not_credited",
            "indicator:first_contact_in_time{region=NJ}",
        }

        stack.service("ticketing").kill()
        hour_ago = NOW - timedelta(hours=1)
        burst = [complaint(hour_ago + timedelta(seconds=20 * n), topic="mobile/no_signal") for n in range(12)]
        await publish(stack, *burst, *burst[:5])
        await let_time_pass(stack)
        await asyncio.to_thread(stack.service("ticketing").start)
        found = {t["cause"]: t for t in await tickets_where(client, 3, 60)}
        assert found["topic:mobile/no_signal"]["trigger"] == "hot"

        metrics = (await client.get("/metrics")).text
        assert 'ticketing_duplicates_total{content="same"} 5.0' in metrics
        assert (await client.get("/openapi.json")).status_code == 200

    opened = await _read(stack, "tickets", 3)
    assert {e["data"]["cause"] for e in opened} == set(found)
    assert {e["type"] for e in opened} == {"ticket.opened.v1"}
    assert all(e["sequence"] == "1" and e["subject"] == e["data"]["ticket_id"] for e in opened)


async def _read(stack: Stack, topic: str, count: int) -> list[dict[str, Any]]:
    """So many different events: the kill may make one be said twice, under one id and with one content."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=stack.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: dict[str, dict[str, Any]] = {}
    try:
        while len(found) < count:
            event = json.loads((await asyncio.wait_for(consumer.getone(), 20)).value)
            assert found.setdefault(event["id"], event) == event
    finally:
        await consumer.stop()
    return list(found.values())
