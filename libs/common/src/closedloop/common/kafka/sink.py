"""Publishing with acks=all and an idempotent producer that is made anew when it breaks."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from closedloop.common.events.topics import MAX_RECORD_BYTES
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.closing import close_connections

log = structlog.get_logger()
STOP_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_MS = 10_000
PUBLISH_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Message:
    """One record to publish. Without `partition` the default partitioner decides by `key`."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = field(default=())
    partition: int | None = None


class KafkaSink:
    """`publish` returns when Kafka has acknowledged every message, or raises; the caller keeps them until it returns.

    After an error the producer is thrown away: an idempotent producer may be stuck for good (aiokafka #1017), and the callers
    (outbox, dead letters) send again under the same ids anyway.
    """

    def __init__(self, kafka: KafkaSettings, client_id: str) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send in order and wait for all acknowledgements. Raises KafkaError or TimeoutError; then some may have been written.

        A message with neither key nor value is written with an empty value: aiokafka refuses to write it as it is.
        """
        if not messages:
            return
        producer = await self._ready()
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                acknowledgements = [await _send(producer, message) for message in messages]
                await asyncio.gather(*acknowledgements)
        except (KafkaError, TimeoutError):
            await self._discard(producer)
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # somebody else's failure ended this producer
            raise KafkaError("the producer was closed") from None

    async def stop(self) -> None:
        """Flush and close; gives up after 5 s, as whatever was not acknowledged is kept elsewhere."""
        if self._producer is not None:
            await self._discard(self._producer)

    async def _ready(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._kafka.client_options(),
                    client_id=self._client_id,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=5,
                    max_batch_size=256 * 1024,
                    max_request_size=2 * MAX_RECORD_BYTES,
                    compression_type="zstd",
                    request_timeout_ms=REQUEST_TIMEOUT_MS,
                )
                try:
                    await producer.start()
                except BaseException:
                    await _stop(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await _stop(producer)


async def _send(producer: AIOKafkaProducer, m: Message) -> "asyncio.Future[object]":
    value = b"" if m.key is None and m.value is None else m.value
    acknowledgement: asyncio.Future[object] = await producer.send(m.topic, value, m.key, m.partition, headers=list(m.headers))
    return acknowledgement


async def _stop(producer: AIOKafkaProducer) -> None:
    # stop() can raise or hang while the broker is away
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait([stopping], timeout=STOP_TIMEOUT_S)
    if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
        stopping.cancel()
        # an idempotent producer tries for ever to send what it holds, ten times a second. The first cancel makes it wait for its
        # request in flight, the second ends that
        sending = None if producer._sender is None else producer._sender.sender_task
        for _ in range(2):
            if sending is not None:
                sending.cancel()
                await asyncio.sleep(0)
    await close_connections(producer.client)
