"""The least that an HTTP → Kafka endpoint can do: cut the body into records, group-commit them with acks=all, answer.

No auth, limits, keys or metrics. One event a request is one record as it came; an array is cut into its items. With
`decode` each event is decoded with msgspec, too, and nothing more is asked of it.
`python benchmarks/ingest_bare.py PORT BOOTSTRAP TOPIC COMPRESSION [decode]`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvicorn
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from closedloop.common.events.model import AnyEvent
from closedloop.ingest.gathering import BATCH_BYTES, SMALL_BYTES
from closedloop.ingest.record_batch import CODECS

PARTITIONS = 6
_array = msgspec.json.Decoder(list[msgspec.Raw])


class Bare:
    """ASGI."""

    def __init__(self, bootstrap: str, topic: str, compression: str, decode: bool) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._decode = msgspec.json.Decoder(AnyEvent).decode if decode else None
        self._codec = CODECS[compression]
        self._gathering: list[Any] = []
        self._acknowledged: asyncio.Future[None] | None = None
        self._wake = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        message = await receive()
        body = message["body"]
        if message["more_body"]:
            parts = [body]
            while message["more_body"]:
                message = await receive()
                parts.append(message["body"])
            body = b"".join(parts)
        records = _array.decode(body) if body[:1] == b"[" else [body]
        if self._decode is not None and body:
            for record in records:
                self._decode(record)
        self._gathering += records
        self._wake.set()
        if self._acknowledged is None:
            self._acknowledged = asyncio.get_running_loop().create_future()
        await self._acknowledged
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        async with self._running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
        )
        await producer.start()
        flusher = asyncio.create_task(self._flush(producer))
        yield
        flusher.cancel()
        await producer.stop()

    async def _flush(self, producer: AIOKafkaProducer) -> None:
        turn = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            records, self._gathering = self._gathering, []
            acknowledged, self._acknowledged = self._acknowledged, None
            sent = []
            share = max(1, -(-len(records) // PARTITIONS))
            for first in range(0, len(records), share):
                of_partition = records[first : first + share]
                # as ingest does: small batches are not compressed
                codec = self._codec if sum(map(len, of_partition)) > SMALL_BYTES else 0
                batch = BatchBuilder(BATCH_BYTES, codec)
                for record in of_partition:
                    if batch.append(key=None, value=record, timestamp=None) is None:
                        sent.append(await producer.send_batch(batch, self._topic, partition=turn % PARTITIONS))
                        batch = BatchBuilder(BATCH_BYTES, codec)
                        batch.append(key=None, value=record, timestamp=None)
                sent.append(await producer.send_batch(batch, self._topic, partition=turn % PARTITIONS))
                turn += 1
            await asyncio.gather(*sent)
            assert acknowledged is not None
            acknowledged.set_result(None)


if __name__ == "__main__":
    port, bootstrap, topic, compression, *decode = sys.argv[1:]
    uvicorn.run(
        Bare(bootstrap, topic, compression, bool(decode)),
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        server_header=False,
    )
