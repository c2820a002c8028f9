"""Publishes the outbox until Kafka acknowledges. A crash between the two says it twice, under the same id."""

import asyncio
import contextlib
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from closedloop.common.consumer.crashpoints import crashpoint
from closedloop.common.consumer.failures import Kind, classify
from closedloop.common.events.decoder import STRUCTURED_CONTENT_TYPE
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.common.postgres.pool import Pool
from closedloop.common.telemetry import metrics
from closedloop.common.telemetry.tracing import Sending

log = structlog.get_logger()
ROUND: Final = 500
IDLE_S: Final = 0.5
BACKOFF_MAX_S: Final = 10.0
_HEADERS: Final = [("content-type", STRUCTURED_CONTENT_TYPE.encode())]


class Relay:
    """One round: lock, read the oldest, publish, delete, commit.

    The lock is held by the transaction: of several processes one relays at a time (order per key), and a frozen one loses it
    when the server ends its idle transaction. Rows are deleted when acknowledged; no cursor can overtake a slow commit.
    """

    def __init__(self, pool: Pool, sink: KafkaSink) -> None:
        self._pool = pool
        self._sink = sink
        self._wake = asyncio.Event()
        self._stopping = False
        self._round_size = ROUND
        self._oldest: str | None = None

    def wake(self) -> None:
        """Something was committed: do not wait for the next poll."""
        self._wake.set()

    def stop(self) -> None:
        """End `run` after the round in hand."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Relay until `stop`; outages are waited out."""
        attempt = 0
        while not self._stopping:
            try:
                published = await self._round()
                alone, self._round_size = self._round_size < ROUND, ROUND
                attempt = 0
            except Exception as error:
                # what Kafka refuses is said and waited for, too: the rows behind it may not overtake it
                if classify(error) is Kind.BUG and not isinstance(error, KafkaError):
                    raise
                attempt += 1
                metrics.OUTBOX_FAILURES.inc()
                said = str(error) if isinstance(error, KafkaError) else None
                log.warning("relay waits", error=type(error).__name__, said=said, attempt=attempt, oldest=self._oldest)
                # next the oldest alone, so that a message that Kafka refuses is the one named here
                self._round_size = 1
                await self._sleep(min(BACKOFF_MAX_S, 0.1 * 2 ** min(attempt, 10)))
                continue
            if published < ROUND and not alone:
                await self._sleep(IDLE_S)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        if not self._stopping:
            self._wake.clear()

    async def _round(self) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext(current_schema() || '.outbox'))"):
                # another process relays, and tells these
                metrics.OUTBOX_PENDING.set(0)
                metrics.OUTBOX_AGE.set(0)
                return 0
            rows = await connection.fetch("SELECT * FROM outbox ORDER BY seq LIMIT $1", self._round_size)
            self._oldest = rows[0]["id"] if rows else None
            metrics.OUTBOX_PENDING.set(len(rows))
            if not rows:
                metrics.OUTBOX_AGE.set(0)
                return 0
            age = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp() - $1::timestamptz)", rows[0]["created_at"])
            metrics.OUTBOX_AGE.set(float(age))
            crashpoint("relay.before_publish")
            with Sending((row["topic"], row["payload"]) for row in rows):
                await self._sink.publish([Message(row["topic"], row["key"].encode(), row["payload"], _HEADERS) for row in rows])
            crashpoint("relay.after_publish")
            await connection.execute("DELETE FROM outbox WHERE seq = ANY ($1::bigint[])", [row["seq"] for row in rows])
            crashpoint("relay.after_delete")
        for row in rows:
            metrics.OUTBOX_PUBLISHED.labels(row["topic"]).inc()
        return len(rows)
