"""The whole of ingest in the test's own process, before a real Kafka: what a client sees, and what Kafka then holds."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from closedloop.common.events.contract import example_file
from closedloop.common.events.topics import INPUT_TOPICS
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.settings import AuthSettings
from closedloop.ingest.express import Front
from closedloop.ingest.main import build
from closedloop.ingest.settings import IngestSettings
from closedloop.local.issuer import ALGORITHM, ALL_REGIONS, AUDIENCE, ISSUER, Issuer

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
NDJSON = "application/x-ndjson"


def example(event_type: str = "evaluation.submitted.v1", **changes: Any) -> dict[str, Any]:
    """The contract's example of a type with other attributes; `data` is merged."""
    event: dict[str, Any] = json.loads(example_file(event_type).read_text(encoding="utf-8"))
    event["time"] = "2026-01-05T08:00:00+08:00"
    data = changes.pop("data", {})
    return {**event, **changes, "data": {**event["data"], **data}}


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 20) -> None:
    """Poll until it holds; the test fails after the time."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)


class Door:
    """A client's view of ingest."""

    def __init__(self, client: httpx2.AsyncClient, issuer: Issuer, bootstrap: str, starts: dict[TopicPartition, int]) -> None:
        self.client = client
        self._issuer = issuer
        self._bootstrap = bootstrap
        self._starts = starts
        self.token = self.token_of("producer")

    def token_of(self, role: str, regions: tuple[str, ...] = ALL_REGIONS, subject: str = "csp-nanjing") -> str:
        return self._issuer.mint(role, subject, regions)

    async def post(
        self,
        path: str,
        body: Any,
        content_type: str = "application/json",
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """`body`: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        sent = {
            "authorization": f"Bearer {self.token if token is None else token}",
            "content-type": content_type,
            **(headers or {}),
        }
        return await self.client.post(path, content=content, headers={k: v for k, v in sent.items() if v})

    async def stored(self, topic: str) -> list[ConsumerRecord]:
        """The records that reached the topic since the door was opened, in order of partition and offset."""
        return await records_since(self._bootstrap, {tp: at for tp, at in self._starts.items() if tp.topic == topic})

    async def stored_events(self, topic: str) -> list[dict[str, Any]]:
        """The same as JSON."""
        return [json.loads(record.value) for record in await self.stored(topic)]


async def records_since(bootstrap: str, starts: Mapping[TopicPartition, int]) -> list[ConsumerRecord]:
    """All records from these positions to the end as it is now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed")
    await consumer.start()
    try:
        consumer.assign(list(starts))
        for partition, at in starts.items():
            consumer.seek(partition, at)
        ends = await consumer.end_offsets(list(starts))
        found: list[ConsumerRecord] = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
        return sorted(found, key=lambda record: (record.topic, record.partition, record.offset))
    finally:
        await consumer.stop()


async def ends_of(bootstrap: str) -> dict[TopicPartition, int]:
    """Where the input topics end now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.name, n) for topic in INPUT_TOPICS for n in range(topic.partitions)]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return ends
    finally:
        await consumer.stop()


@asynccontextmanager
async def opened(bootstrap: str, folder: Path, **settings: Any) -> AsyncIterator[Door]:
    """Ingest, ready, with these settings."""
    issuer = Issuer(folder)
    issuer.environment()
    auth = AuthSettings(
        issuer=ISSUER, audience=AUDIENCE, algorithms=(ALGORITHM,), jwks_url=(folder / "jwks.json").absolute().as_uri()
    )
    await ensure_topics(KafkaSettings(bootstrap=bootstrap), INPUT_TOPICS)
    app = build(IngestSettings(**settings), KafkaSettings(bootstrap=bootstrap), auth)
    transport = httpx2.ASGITransport(Front(app, app.state.express))
    starts = await ends_of(bootstrap)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://ingest", timeout=60) as client,
    ):

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await until(ready, "ingest is ready")
        yield Door(client, issuer, bootstrap, starts)
