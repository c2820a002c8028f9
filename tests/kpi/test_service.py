"""The service as a process on real Kafka and PostgreSQL: what is sent with duplicates and poison comes out as values, once."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from aiokafka import AIOKafkaConsumer

from closedloop.common.events.topics import dead_letter_name
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.local.issuer import Issuer
from closedloop.local.ports import free_port
from kpi.records import encoded, envelope, rating
from kpi.test_columnar_decode import POISON

READY_S = 60.0
COUNTED_S = 30.0


@dataclass
class Service:
    """One running process and a client of it."""

    client: httpx2.AsyncClient
    headers: dict[str, str]
    process: "subprocess.Popen[bytes]"

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.client.get(path, params=params, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until_sample(self, indicator: str, sample: int, **params: Any) -> Any:
        """The value, once so many events stand in it; more is an error at once."""
        deadline = time.monotonic() + COUNTED_S
        while True:
            value = await self.get(f"/v1/indicators/{indicator}/value", **params)
            if value["sample"] >= sample or time.monotonic() > deadline:
                assert value["sample"] == sample
                return value
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def running(folder: Path, kafka_bootstrap: str, kpi_url: str, **environment: str) -> AsyncIterator[Service]:
    issuer = Issuer(folder / "issuer")
    port = free_port()
    settings = {
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "KPI_DATABASE_URL": kpi_url,
        "KPI_PORT": str(port),
        "KPI_SESSION_TIMEOUT_MS": "6000",
        **issuer.environment(),
        **environment,
    }
    log = folder / "kpi.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 (returns at once; asyncio's own would end with the test's loop)
            [sys.executable, "-m", "closedloop.kpi", "serve"], env={**os.environ, **settings}, stdout=output, stderr=output
        )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            deadline = time.monotonic() + READY_S
            while True:
                with contextlib.suppress(httpx2.HTTPError):
                    if (await client.get("/readyz")).status_code == 200:
                        break
                assert process.poll() is None and time.monotonic() < deadline, await asyncio.to_thread(log.read_text)
                await asyncio.sleep(0.05)
            yield Service(client, {"Authorization": f"Bearer {issuer.mint('analyst')}"}, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, 25)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def send(bootstrap: str, topic: str, values: Sequence[tuple[str, bytes | None]]) -> None:
    sink = KafkaSink(KafkaSettings(bootstrap=bootstrap), "test")
    await sink.publish([Message(topic, key.encode(), value) for key, value in values])
    await sink.stop()


async def dead_letters(bootstrap: str, topic: str, mark: str) -> int:
    """How many dead letters of keys that begin with `mark` there are."""
    consumer = AIOKafkaConsumer(
        dead_letter_name(topic, "kpi"), bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        found = 0
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += sum(record.key.decode().startswith(mark) for record in records)
        return found
    finally:
        await consumer.stop()


@pytest.fixture
async def topics(kafka_bootstrap: str) -> None:
    await ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap))


async def test_events_are_counted_once_poison_is_set_aside_and_a_restart_goes_on(
    tmp_path: Path, kafka_bootstrap: str, kpi_url: str, unique_name: str, topics: None
) -> None:
    region = unique_name  # other tests use the same broker and topics
    at = datetime.now(UTC) - timedelta(minutes=3)

    def event(number: int) -> tuple[str, bytes]:
        data = rating(customer_id=f"{unique_name}-{number}", region=region, score=1 if number % 4 == 0 else 9)
        return data["customer_id"], encoded(envelope(data, id=f"{unique_name}-{number}", time=at.isoformat()))

    poison = [(f"{unique_name}-poison", value) for name, value in POISON.items() if name != "too large"]
    first = [event(n) for n in range(2000)]
    async with running(tmp_path, kafka_bootstrap, kpi_url) as service:
        await send(kafka_bootstrap, "evaluations", [*first, *first[:200], *poison, *first[500:700]])
        value = await service.until_sample("dissatisfied_share", 2000, region=region, window="1h")
        assert (value["numerator"], value["value"]) == (500, 25.0)
        metrics = (await service.client.get("/metrics")).text
        assert 'kpi_duplicates_total{content="same",topic="evaluations"}' in metrics
        assert 'kpi_duplicates_total{content="other",topic="evaluations"}' in metrics  # other tests may have sent such
        assert unique_name + "-" not in metrics  # neither customers nor ids
    assert service.process.returncode == 0
    await send(kafka_bootstrap, "evaluations", [*first[:100], *(event(n) for n in range(2000, 2100))])
    async with running(tmp_path, kafka_bootstrap, kpi_url) as service:
        value = await service.until_sample("dissatisfied_share", 2100, region=region, window="1h")
        assert value["numerator"] == 525
    assert await dead_letters(kafka_bootstrap, "evaluations", f"{unique_name}-poison") == len(poison)


async def test_gauges_show_the_last_hour(
    tmp_path: Path, kafka_bootstrap: str, kpi_url: str, unique_name: str, topics: None
) -> None:
    at = datetime.now(UTC) - timedelta(minutes=3)
    values = [
        (
            f"{unique_name}-{n}",
            encoded(envelope(rating(region=unique_name, score=1), id=f"{unique_name}-g{n}", time=at.isoformat())),
        )
        for n in range(20)
    ]
    await send(kafka_bootstrap, "evaluations", values)
    async with running(tmp_path, kafka_bootstrap, kpi_url, KPI_MAX_EXPORTED_SERIES="100000") as service:
        await service.until_sample("dissatisfied_share", 20, region=unique_name)
        wanted = f'kpi_indicator_value{{indicator="dissatisfied_share",region="{unique_name}",split_by="region"}} 100.0'
        deadline = time.monotonic() + 40
        while wanted not in (await service.client.get("/metrics")).text:
            assert time.monotonic() < deadline, "the gauge did not come"
            await asyncio.sleep(0.5)


async def test_a_crash_between_commit_and_kafka_loses_and_doubles_nothing(
    tmp_path: Path, kafka_bootstrap: str, kpi_url: str, unique_name: str, topics: None
) -> None:
    at = datetime.now(UTC) - timedelta(minutes=3)
    values = [
        (f"{unique_name}-{n}", encoded(envelope(rating(region=unique_name), id=f"{unique_name}-c{n}", time=at.isoformat())))
        for n in range(500)
    ]
    for point in ("consumer.after_effects", "consumer.after_commit"):
        async with running(tmp_path, kafka_bootstrap, kpi_url, CRASHPOINT=point) as service:
            await send(kafka_bootstrap, "evaluations", values)
            assert await asyncio.to_thread(service.process.wait, 30) == 137
    async with running(tmp_path, kafka_bootstrap, kpi_url) as service:
        await service.until_sample("dissatisfied_share", 500, region=unique_name)
    connection = await asyncpg.connect(kpi_url)
    assert await connection.fetchval("SELECT sum(rows) FROM segment WHERE kind = 'seen'") >= 500
    await connection.close()


async def test_two_processes_share_the_partitions_and_one_takes_over_when_the_other_is_killed(
    tmp_path: Path, kafka_bootstrap: str, kpi_url: str, unique_name: str, topics: None
) -> None:
    at = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()

    def event(number: int) -> tuple[str, bytes]:
        name = f"{unique_name}-{number}"
        return name, encoded(envelope(rating(region=unique_name), id=f"{name}-shared", time=at))

    def events(numbers: range) -> list[tuple[str, bytes]]:
        return list(map(event, numbers))

    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    async with running(folders[0], kafka_bootstrap, kpi_url) as one:
        await send(kafka_bootstrap, "evaluations", events(range(1000)))
        async with running(folders[1], kafka_bootstrap, kpi_url) as two:
            await send(kafka_bootstrap, "evaluations", events(range(500, 2000)))
            await two.until_sample("dissatisfied_share", 2000, region=unique_name)
            await send(kafka_bootstrap, "evaluations", events(range(1500, 3000)))
            one.process.kill()
            await send(kafka_bootstrap, "evaluations", events(range(4000)))
            await two.until_sample("dissatisfied_share", 4000, region=unique_name)


async def test_a_breach_is_published_and_a_new_process_does_not_say_it_again(
    tmp_path: Path, kafka_bootstrap: str, kpi_url: str, unique_name: str, topics: None
) -> None:
    now = datetime.now(UTC)

    def order(number: int, status: str, at: datetime) -> tuple[str, bytes]:
        key = f"{unique_name}-{number}"
        data = {"customer_id": key, "region": unique_name, "order_id": key, "order_type": "plan_change", "status": status}
        event = envelope(data, "order.status_changed.v1", id=f"{key}-{status}-{at.isoformat()}", time=at.isoformat())
        return key, encoded(event)

    failed = [order(n, "failed", now - timedelta(minutes=4)) for n in range(60)]
    later = [order(n, "submitted", now) for n in range(60)]  # event time goes on in the same partitions
    for _ in range(2):
        async with running(tmp_path, kafka_bootstrap, kpi_url) as service:
            await send(kafka_bootstrap, "orders", [*failed, *later])
            await service.until_sample("order_failure_rate", 60, region=unique_name)
            deadline = time.monotonic() + COUNTED_S
            while not (said := await statements(kafka_bootstrap, unique_name)):
                assert time.monotonic() < deadline, "nothing was said"
                await asyncio.sleep(0.5)
    [breach] = said
    assert breach["type"] == "indicator.breached.v1"
    assert (breach["data"]["value"], breach["data"]["sample"]) == (100.0, 60)
    assert breach["data"]["dimensions"] == {"region": unique_name}


async def statements(bootstrap: str, region: str) -> list[Any]:
    """What was published about the failure rate of a region, each event once."""
    consumer = AIOKafkaConsumer("indicators", bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        found: dict[str, Any] = {}
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found |= {event["id"]: event for event in map(json.loads, (record.value for record in records))}
        return [
            e for e in found.values() if e["data"].get("region") == region and e["data"]["indicator_id"] == "order_failure_rate"
        ]
    finally:
        await consumer.stop()
