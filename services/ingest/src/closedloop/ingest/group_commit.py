"""Requests → Kafka, acks=all, many requests in one round.

While one round of batches is on its way, the next one gathers: so the more load, the fewer rounds, and a lone request waits for
nobody. One flusher sends, one batch a partition at a time: concurrent `send_batch` calls on one partition make aiokafka 0.14
time out early.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed, UnknownTopicOrPartitionError

from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.refusals import refusal
from closedloop.ingest import metrics
from closedloop.ingest.domain.acceptance import Records
from closedloop.ingest.gathering import Round
from closedloop.ingest.record_batch import CODECS

log = structlog.get_logger()
FLYING_ROUNDS: Final = 2
EARLY_EVENTS: Final = 500
"""With so many gathered the next round is built while one is on its way, and waits in the producer; fewer gather on."""
OFF_THE_LOOP_BYTES: Final = 128 * 1024
"""Larger rounds are compressed beside the event loop, which has a fifth more time then for requests."""
RECONNECT_S: Final = (0.2, 0.5, 1.0)
DISPOSE_S: Final = 5.0
PROBE_AFTER_S: Final = 2.0


class NotAcknowledged(Exception):
    """Kafka did not acknowledge these records (in time): some may have been written, all may be sent again."""


class Overloaded(Exception):
    """As many events are unacknowledged as may be; nothing of this request was written."""


class GroupCommit:
    """`commit` returns when Kafka has acknowledged; a job with `run` and `stop`."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Sequence[str],
        *,
        ack_timeout_s: float,
        max_unacknowledged: int,
        compression: str,
    ) -> None:
        self._kafka = kafka
        self._topics = tuple(topics)
        self._ack_timeout_s = ack_timeout_s
        self._max_unacknowledged = max_unacknowledged
        self._codec = CODECS[compression]
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[str, int] = {}
        self._gathering = Round(self._codec, self._partitions)
        self._unacknowledged = 0
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._stopping = False
        self._why_not = "not connected yet"
        self._acknowledged_at = float("-inf")
        self._compressor = ThreadPoolExecutor(1, "compressor")
        self._disposals: set[asyncio.Task[None]] = set()

    async def commit(self, records: dict[str, Records]) -> None:
        """Write and wait. `records`: by topic. Raises Overloaded or NotAcknowledged."""
        if self._producer is None or self._stopping:
            raise NotAcknowledged(self._why_not)
        count = sum(map(len, records.values()))
        if self._unacknowledged + count > self._max_unacknowledged:
            raise Overloaded
        self._unacknowledged += count
        gathering = self._gathering
        try:
            for topic, of_topic in records.items():
                gathering.add(topic, of_topic)
            acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            gathering.waiters.append(acknowledged)
            self._wake.set()
            await acknowledged
        finally:
            self._unacknowledged -= count

    async def run(self) -> None:
        """Connect, send round after round, connect anew when one fails; until `stop`."""
        try:
            while not self._stopping:
                producer = await self._connect()
                if producer is None:
                    break
                self._producer = producer
                error = await self._send_rounds(producer)
                self._producer = None
                if error is not None:
                    self._why_not = f"Kafka did not acknowledge ({await self._said(error)})"
                    log.warning("a round of events was not acknowledged", error=type(error).__name__, reason=self._why_not)
                    metrics.ROUNDS_FAILED.inc()
                self._discard(producer, failed=error is not None)
        finally:
            self._producer = None
            _fail(self._gathering)
            await asyncio.gather(*self._disposals, return_exceptions=True)
            self._compressor.shutdown(wait=False)

    def stop(self) -> None:
        """Send what has been gathered, then end `run`. No further records are taken."""
        self._stopping = True
        self._why_not = "stopping"
        self._wake.set()

    async def not_ready(self) -> str | None:
        """None: Kafka acknowledged a moment ago, or answers now."""
        producer = self._producer
        if producer is None:
            return self._why_not
        if time.monotonic() - self._acknowledged_at > PROBE_AFTER_S:
            try:
                await producer.client.fetch_all_metadata()
            except KafkaError as error:
                return f"Kafka does not answer ({type(error).__name__})"
        return None

    @property
    def unacknowledged(self) -> int:
        """Events that wait for Kafka now."""
        return self._unacknowledged

    async def _send_rounds(self, producer: AIOKafkaProducer) -> BaseException | None:
        """Until stopped and empty (None), or until a round fails (why)."""
        flying: deque[asyncio.Task[None]] = deque()
        try:
            while True:
                while flying and flying[0].done():
                    flying.popleft().result()
                gathered = self._gathering
                early = len(flying) < FLYING_ROUNDS and gathered.events >= EARLY_EVENTS
                if gathered.waiters and (early or not flying):
                    self._gathering = Round(self._codec, self._partitions)
                    flying.append(asyncio.create_task(self._write(producer, gathered)))
                    flying[-1].add_done_callback(lambda _: self._wake.set())
                    continue
                if self._stopping and not flying:
                    return None
                self._wake.clear()
                await self._wake.wait()
        except (KafkaError, TimeoutError, OSError) as error:
            return error
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)
            # what gathered meanwhile waits for the same broken producer: its clients may as well try again now
            _fail(self._gathering)
            self._gathering = Round(self._codec, self._partitions)

    async def _write(self, producer: AIOKafkaProducer, writing: Round) -> None:
        """Close the round, send it, wait for Kafka and tell the waiters."""
        try:
            writing.close()
            if writing.bytes > OFF_THE_LOOP_BYTES:
                await asyncio.get_running_loop().run_in_executor(self._compressor, writing.compress)
            async with self._sending:
                started = time.perf_counter()
                acknowledgements = await self._send(producer, writing)
            # not gather: what is still to come must not be cancelled, or nobody would see its error
            done, missing = await asyncio.wait(acknowledgements, timeout=self._ack_timeout_s, return_when=asyncio.FIRST_EXCEPTION)
            for acknowledgement in done:
                acknowledgement.result()
            if missing:
                raise TimeoutError
        except BaseException:
            _fail(writing)
            raise
        self._acknowledged_at = time.monotonic()
        for waiter in writing.waiters:
            if not waiter.done():
                waiter.set_result(None)
        metrics.ROUND_SECONDS.observe(time.perf_counter() - started)
        metrics.ROUND_EVENTS.observe(writing.events)
        metrics.RECORD_BYTES.inc(writing.bytes)
        for topic, events in writing.counts.items():
            metrics.ACCEPTED.labels(topic).inc(events)

    async def _send(self, producer: AIOKafkaProducer, sending: Round) -> list[asyncio.Future[Any]]:
        """Hand the round to the producer. The acknowledgements to come."""
        acknowledgements: list[asyncio.Future[Any]] = []
        async with asyncio.timeout(self._ack_timeout_s):
            for topic in sending.counts:
                self._partitions[topic] = len(await producer.partitions_for(topic))  # known already: no question to Kafka
            for topic, partition, batch in sending.batches():
                acknowledgement = await producer.send_batch(batch, topic, partition=partition)
                acknowledgement.add_done_callback(_seen)
                acknowledgements.append(acknowledgement)
        return acknowledgements

    async def _connect(self) -> AIOKafkaProducer | None:
        attempt = 0
        while not self._stopping:
            producer = AIOKafkaProducer(
                **self._kafka.client_options(),
                client_id="closedloop-ingest",
                acks="all",
                enable_idempotence=True,
                request_timeout_ms=int(self._ack_timeout_s * 1000),
            )
            asked_for: str | None = None
            try:
                async with asyncio.timeout(self._ack_timeout_s):
                    await producer.start()
                    for asked_for in self._topics:
                        self._partitions[asked_for] = len(await producer.partitions_for(asked_for))
            except (KafkaError, TimeoutError, OSError) as error:
                self._why_not = await self._explained(error, asked_for)
                log.warning("waiting for Kafka", reason=self._why_not, topics=self._topics)
                self._discard(producer, failed=True)
            else:
                return producer
            with contextlib.suppress(TimeoutError):
                self._wake.clear()
                await asyncio.wait_for(self._wake.wait(), RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)])
            attempt += 1
        return None

    async def _explained(self, error: Exception, topic: str | None) -> str:
        # aiokafka asks for a missing topic again and again, until the time is up
        if topic is not None and isinstance(error, UnknownTopicOrPartitionError | TimeoutError):
            return f"the topic {topic} is missing, it seems; `closedloop topics --create` creates it"
        return f"Kafka cannot be used ({await self._said(error)})"

    async def _said(self, error: BaseException) -> str:
        return await refusal(error, self._kafka) or type(error).__name__

    def _discard(self, producer: AIOKafkaProducer, *, failed: bool) -> None:
        # beside the next attempt: a producer whose broker is away takes its time to stop
        disposal = asyncio.create_task(_dispose(producer, failed))
        self._disposals.add(disposal)
        disposal.add_done_callback(self._disposals.discard)


async def _dispose(producer: AIOKafkaProducer, failed: bool) -> None:
    if failed:
        # an idempotent producer of aiokafka retries for ever, and its stop() waits for that
        producer._message_accumulator.fail_all(ProducerClosed())
    try:
        await asyncio.wait_for(producer.stop(), DISPOSE_S)
    except (Exception, asyncio.CancelledError) as error:
        log.warning("a Kafka producer did not stop cleanly", error=type(error).__name__)
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await producer.client.close()


def _fail(failed: Round) -> None:
    for waiter in failed.waiters:
        if not waiter.done():
            waiter.set_exception(NotAcknowledged("Kafka did not acknowledge"))


def _seen(acknowledgement: asyncio.Future[Any]) -> None:
    if not acknowledgement.cancelled():
        acknowledgement.exception()
