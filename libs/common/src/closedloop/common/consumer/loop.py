"""The one consumer loop: poll → decode → one transaction of fence, effects and dead letters → commit.

While a batch is being committed the next one is fetched and decoded. Correctness rests on the fence alone (see `positions`):
whatever the group protocol does, a position moves once.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Generic, Protocol, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from closedloop.common.consumer import positions
from closedloop.common.consumer.batch import Batch, Slice
from closedloop.common.consumer.brake import Brake
from closedloop.common.consumer.crashpoints import crashpoint
from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.failures import FenceLost, Kind, PositionRefused, Rejection, classify
from closedloop.common.consumer.watchdog import Watchdog
from closedloop.common.kafka.partitioner import partition_of
from closedloop.common.kafka.source import KafkaSource, Record
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.common.telemetry import metrics

log = structlog.get_logger()
T = TypeVar("T")
POLL_MS: Final = 200
GATHER_MS: Final = 20
POLL_RECORDS: Final = 4_000
TELL_EVERY_S: Final = 5.0
BUG_TRIES: Final = 3
BACKOFF_MAX_S: Final = 10.0
INTERRUPTED_S: Final = 2.0
RENEW_AFTER: Final = 5
"""Polls that fail in a row though Kafka answers otherwise: then the client itself does not recover."""


class _Braked(Exception):
    """The transaction was rolled back before its rejections went to the dead letters. The text says why."""


@dataclass(frozen=True)
class Decoded(Generic[T]):
    """A batch as its service reads it: what to apply, what to reject (in record order), how far event time has come."""

    payload: T
    rejections: Sequence[Rejection] = ()
    watermarks: Mapping[TopicPartition, datetime] = field(default_factory=dict)
    skipped: int = 0


class Processor(Protocol[T]):
    """What a service does with batches. `decode` is pure and must not raise for a bad record, but list it."""

    @property
    def topics(self) -> Sequence[str]:
        """The topics that are read."""

    def decode(self, batch: Batch) -> Decoded[T]:
        """Records → payload and rejections. Called on a thread; two batches may be decoded at once."""

    async def apply(self, connection: Connection, payload: T) -> Sequence[Rejection]:
        """Write the effects in the open transaction; return what turned out to be unacceptable (such as too late)."""

    def committed(self, payload: T) -> None:
        """The transaction that applied `payload` was committed."""

    def reset(self) -> None:
        """Positions were read anew: forget whatever was cached of the database's state."""


class ConsumerLoop(Generic[T]):
    """Runs until `stop`. Raises only PositionRefused; every other failure is waited out, rejected or isolated."""

    def __init__(
        self,
        source: KafkaSource,
        pool: Pool,
        dead_letters: DeadLetters,
        processor: Processor[T],
        *,
        max_batch: int = 20_000,
        linger_s: float = 0.0,
        brake: Brake | None = None,
    ) -> None:
        self._source = source
        self._pool = pool
        self._dead_letters = dead_letters
        self._processor = processor
        self._max_batch = max_batch
        self._linger_s = linger_s
        self._linger_until = 0.0
        self.brake = brake or Brake()
        self.braked: str | None = None
        self._resume = asyncio.Event()
        self._stopping = asyncio.Event()
        self._positions: dict[TopicPartition, int] = {}
        self._restored_generation = -1
        self._joined = False
        self._pending: asyncio.Task[None] | None = None
        self._told_at = 0.0
        self._waiting_since: float | None = None
        self._failed_polls = 0
        self._ages: dict[TopicPartition, float] = {}
        self.watchdog = Watchdog()

    # --- what others ask and say ---

    def not_ready(self) -> str | None:
        """Why this process should not be relied on, or None: the brake stopped it, or it has never joined its group."""
        if self.braked:
            return f"paused: {self.braked}; look at the dead letters, then resume"
        if not self._joined:
            return "has not joined its consumer group since its start; is KAFKA_BOOTSTRAP right, and PostgreSQL there?"
        return None

    def idle_because(self) -> str | None:
        """Why nothing is read at present although it should be, or None. It goes on by itself."""
        if self._waiting_since is not None:
            return "waits for Kafka or PostgreSQL"
        if not self._source.connected:
            return "waits for Kafka: no broker is connected"
        if self._restored_generation != self._source.generation:
            return "waits for its partitions: the group is rebalancing"
        return None

    def resume(self) -> None:
        """Let rejections through for 15 minutes, after the brake stopped the consumer."""
        self.brake.suspend()
        self._resume.set()

    def stop(self) -> None:
        """Finish the batch in hand, then end `run`."""
        self._stopping.set()
        self._resume.set()

    # --- the loop ---

    async def run(self) -> None:
        """Consume until `stop`. Raises PositionRefused with a sentence for the operator."""
        try:
            await self._outlast(self._source.start)
            while not self._stopping.is_set():
                try:
                    await self._turn()
                except FenceLost:
                    metrics.FENCE_LOST.inc()
                    log.warning("position moved by another member; reading it anew")
                    await self._drop_pending()
                    self._restored_generation = -1
                except KafkaError as error:
                    # positions are checked against what Kafka keeps before anything else is read
                    self._restored_generation = -1
                    self._failed_polls += 1
                    await self._wait("poll", error, self._failed_polls)
                    if self._failed_polls % RENEW_AFTER == 0:
                        await self._outlast(self._source.start)
            await self._drop_pending()
        finally:
            if self._pending is not None:
                self._pending.cancel()
            await self._source.stop()

    async def _turn(self) -> None:
        if self._restored_generation != self._source.generation:
            await self._drop_pending()
            await self._outlast(self._restore)
            return
        batch = await self._gather()
        if batch is None:
            await self._settle()
            if self._restored_generation == self._source.generation:
                await self._tell_progress()
                await self._skip_gaps(())
                await self._until_stop(lambda: self.watchdog.check(self._source, self._positions))
            return
        # on a thread: a large batch must not keep the one before it from being committed, or requests from being answered
        decoded = await asyncio.to_thread(self._decode, batch)
        await self._settle()
        await self._tell_progress()
        await self._skip_gaps(batch.ends())
        if self._restored_generation == self._source.generation:
            self._positions |= batch.ends()
            self._pending = asyncio.create_task(self._commit(batch, decoded))

    async def _restore(self) -> None:
        generation = self._source.generation
        assigned = sorted(self._source.assigned())
        # what is said of partitions that another member has now would stand for ever
        metrics.LAG.clear()
        metrics.LAG_SECONDS.clear()
        self._ages.clear()
        if not assigned:
            self._positions = {}
            await asyncio.sleep(POLL_MS / 1000)
            if generation == self._source.generation and generation > 0:
                self._restored_generation = generation
                self._joined = True
            return
        async with self._pool.acquire() as connection:
            self._positions = await positions.restore(connection, self._source, assigned)
        await self._dead_letters.restore(self._positions)
        self._processor.reset()
        for tp, offset in self._positions.items():
            if tp not in self._source.assigned():
                return  # rebalanced meanwhile; the next turn restores again
            self._source.seek(tp, offset)
        self._restored_generation = generation
        self._joined = True
        self.watchdog.progress()
        metrics.RESTORED.inc()
        log.info("positions restored", positions={f"{tp.topic}/{tp.partition}": o for tp, o in self._positions.items()})

    async def _gather(self) -> Batch | None:
        """What has come; while the previous batch is still being committed, or was gathered less than `linger_s` ago, also what
        comes meanwhile: where each batch has its price, few are made."""
        clock = asyncio.get_running_loop().time
        gathered: dict[TopicPartition, list[Record]] = {}
        room = self._max_batch
        timeout = POLL_MS
        while room > 0:
            wanted = min(room, POLL_RECORDS)
            polled = await self._source.poll(wanted, timeout)
            # what was fetched before is returned without a pause; others must have their turn, the commit above all
            await asyncio.sleep(0)
            self._failed_polls = 0
            if self._restored_generation != self._source.generation:
                return None
            for tp, records in polled.items():
                gathered.setdefault(tp, []).extend(records)
                room -= len(records)
            is_more = sum(map(len, polled.values())) == wanted
            is_busy = self._pending is not None and not self._pending.done()
            is_early = clock() < self._linger_until and not self._stopping.is_set()
            if not gathered or not (is_busy or is_early or is_more):
                break
            timeout = GATHER_MS if is_busy or is_early else 0
        self._linger_until = clock() + self._linger_s
        slices = [Slice(tp, self._positions[tp], records) for tp, records in gathered.items() if tp in self._positions]
        if any(part.records[0].offset < part.start for part in slices):
            raise FenceLost
        for part in slices:
            self._sample_key(part)
        return Batch(tuple(sorted(slices, key=lambda part: part.partition))) if slices else None

    async def _settle(self) -> None:
        """Wait for the batch that is being committed; its failure is this loop's."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            await pending

    async def _drop_pending(self) -> None:
        """The batch in hand is committed or not; either way the positions are read anew afterwards."""
        with contextlib.suppress(FenceLost):
            await self._settle()

    # --- one batch ---

    def _decode(self, batch: Batch) -> Decoded[T] | None:
        try:
            return self._processor.decode(batch)
        except Exception:
            log.exception("reading a batch failed")
            return None

    async def _commit(self, batch: Batch, decoded: Decoded[T] | None) -> None:
        """Apply one batch for good. Returns when it is committed (or `stop` interrupts an outage); raises FenceLost.

        Without `decoded` it is decoded here, so that what fails in that is isolated as well.
        """
        attempt = 0
        while True:
            try:
                await self._transaction(batch, decoded or self._processor.decode(batch))
                return
            except FenceLost:
                raise
            except _Braked as braked:
                if not await self._hold(str(braked)):
                    return
            except Exception as error:
                kind = classify(error)
                if kind is Kind.WAIT:
                    attempt += 1
                    if not await self._wait("apply", error, attempt):
                        return
                else:
                    await self._isolate(batch, error, kind)
                    return

    async def _transaction(self, batch: Batch, decoded: Decoded[T]) -> None:
        started = asyncio.get_running_loop().time()
        crashpoint("consumer.before_transaction")
        async with self._pool.acquire() as connection, connection.transaction():
            await positions.advance(connection, batch, dict(decoded.watermarks))
            crashpoint("consumer.after_fence")
            late = await self._processor.apply(connection, decoded.payload)
            crashpoint("consumer.after_effects")
            rejections = [*decoded.rejections, *late]
            outcomes = _outcomes(batch, rejections)
            if rejections:
                if reason := self.brake.check(outcomes):
                    raise _Braked(reason)
                await self._dead_letters.publish(rejections)
                crashpoint("consumer.after_dead_letters")
        crashpoint("consumer.after_commit")
        self.brake.count(outcomes)
        self._processor.committed(decoded.payload)
        self._dead_letters.committed(batch.ends())
        self._count(batch, decoded, rejections, asyncio.get_running_loop().time() - started)

    async def _isolate(self, batch: Batch, error: Exception, kind: Kind) -> None:
        """A batch that cannot be applied whole: halve it until the record that cannot be is alone."""
        if len(batch) > 1:
            for half in batch.halves():
                if self._stopping.is_set():
                    return
                await self._commit(half, None)
            return
        [record] = batch.records()
        attempts = 1
        first_seen = datetime.now(UTC)
        while kind is Kind.BUG and attempts < BUG_TRIES:
            attempts += 1
            try:
                await self._transaction(batch, self._processor.decode(batch))
                return
            except FenceLost:
                raise
            except _Braked:
                await self._commit(batch, None)
                return
            except Exception as again:
                error, kind = again, classify(again)
        if kind is Kind.WAIT:
            await self._commit(batch, None)
            return
        log.error("record rejected", topic=record.topic, partition=record.partition, offset=record.offset, exc_info=error)
        rejection = Rejection(
            record,
            "bug" if kind is Kind.BUG else "data",
            type(error).__name__,
            "the service failed on this record; its log names the place" if kind is Kind.BUG else "the database refused its data",
            attempts,
            first_seen,
        )
        await self._reject(batch, rejection)

    async def _reject(self, batch: Batch, rejection: Rejection) -> None:
        """Nothing but a dead letter for a batch of one. Whatever fails in that is waited out: there is nothing left to isolate."""
        nothing = Decoded(self._processor.decode(Batch(())).payload, [rejection])
        attempt = 0
        while True:
            try:
                await self._transaction(batch, nothing)
                return
            except FenceLost:
                raise
            except _Braked as braked:
                if not await self._hold(str(braked)):
                    return
            except Exception as error:
                attempt += 1
                if not await self._wait("reject", error, attempt):
                    return

    # --- outages and the brake ---

    async def _hold(self, reason: str) -> bool:
        """Until an operator lets it go on. False: stopped meanwhile."""
        self.braked = reason
        metrics.BRAKED.set(1)
        log.critical("consumer paused", reason=reason)
        self._resume.clear()
        if not self._stopping.is_set():
            await self._resume.wait()
        self.braked = None
        metrics.BRAKED.set(0)
        return not self._stopping.is_set()

    async def _wait(self, what: str, error: Exception, attempt: int) -> bool:
        """Back off during an outage. False: stopped meanwhile."""
        loop = asyncio.get_running_loop()
        if self._waiting_since is None:
            self._waiting_since = loop.time()
        delay = min(BACKOFF_MAX_S, 0.1 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1)  # noqa: S311 (jitter)
        # what Kafka's client says names servers and topics, never data; PostgreSQL's may quote a row
        said = str(error) if isinstance(error, KafkaError) else None
        log.warning("waiting", during=what, error=type(error).__name__, said=said, attempt=attempt, seconds=round(delay, 1))
        self.watchdog.progress()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)
        return not self._stopping.is_set()

    async def _outlast(self, action: "Action") -> None:
        """Repeat `action` through outages until it succeeds or `stop`, which does not wait for it."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                await self._until_stop(action)
                self._working()
                return
            except PositionRefused:
                raise
            except Exception as error:
                if classify(error) is Kind.BUG:
                    raise
                attempt += 1
                await self._wait(action.__name__, error, attempt)

    async def _until_stop(self, action: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run `action`, but no longer than until `stop`."""
        acting = asyncio.ensure_future(action())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([acting, stopping], return_when=asyncio.FIRST_COMPLETED)
            interrupted = not acting.done()
        finally:
            stopping.cancel()
            acting.cancel()
        if interrupted:
            await asyncio.wait([acting], timeout=INTERRUPTED_S)
        elif acting.cancelled():
            raise KafkaError("the client's own task was cancelled")
        else:
            acting.result()

    def _working(self) -> None:
        self._waiting_since = None
        self.watchdog.progress()

    # --- what is told about it ---

    def _count(self, batch: Batch, decoded: Decoded[T], rejections: Sequence[Rejection], seconds: float) -> None:
        self._working()
        for part in batch.slices:
            topic = part.partition.topic
            rejected = sum(1 for r in rejections if r.record.topic == topic and r.record.partition == part.partition.partition)
            metrics.RECORDS.labels(topic, "rejected").inc(rejected)
            metrics.RECORDS.labels(topic, "taken").inc(len(part.records) - rejected)
            unread = self._source.unread(part.partition, part.end) or 0
            metrics.LAG.labels(topic, str(part.partition.partition)).set(unread)
            age = datetime.now(UTC).timestamp() - part.records[-1].timestamp / 1000
            self._ages[part.partition] = max(0.0, age) if unread else 0
            metrics.LAG_SECONDS.labels(topic).set(max(age for tp, age in self._ages.items() if tp.topic == topic))
        for r in rejections:
            metrics.DEAD_LETTERS.labels(r.record.topic, r.stage).inc()
        metrics.BATCH_RECORDS.observe(len(batch))
        metrics.BATCH_SECONDS.observe(seconds)

    async def _tell_progress(self) -> None:
        """The group's offsets in Kafka, now and then: for lag tools alone, so never ahead of what is committed."""
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= TELL_EVERY_S and self._restored_generation == self._source.generation:
            self._told_at = now
            await self._until_stop(lambda: self._source.commit(self._positions))

    async def _skip_gaps(self, in_hand: Container[TopicPartition]) -> None:
        """Where nothing but marks of transactions follows the last record: move over them, or it would seem unread for ever."""
        gaps = [
            (tp, position, seen)
            for tp, position in self._positions.items()
            if tp not in in_hand and (seen := self._source.position(tp)) is not None and seen > position
        ]
        if not gaps or self._restored_generation != self._source.generation:
            return
        try:
            async with self._pool.acquire() as connection:
                for tp, position, seen in gaps:
                    await positions.skip(connection, tp, position, seen)
                    self._positions[tp] = seen
        except Exception as error:
            if classify(error) is not Kind.WAIT:
                raise
            await self._wait("skip", error, 1)
            return
        self._working()

    def _sample_key(self, part: Slice) -> None:
        """One record a slice: dedup and order hold per partition only while producers agree on the partitioner."""
        record = part.records[-1]
        partitions = self._source.partitions(part.partition.topic)
        if record.key and partitions and partition_of(record.key, partitions) != part.partition.partition:
            metrics.MISPLACED.labels(part.partition.topic).inc()


class Action(Protocol):
    """An awaitable step with a name for the log."""

    __name__: str

    def __call__(self) -> Coroutine[None, None, None]:
        """Do it, or raise."""


def _outcomes(batch: Batch, rejections: Sequence[Rejection]) -> list[bool]:
    """For each record in order whether it is rejected. Too late says something of the event, nothing of a deployment."""
    rejected = {(r.record.topic, r.record.partition, r.record.offset) for r in rejections if r.stage != "late"}
    if not rejected:
        return [False] * len(batch)
    return [(r.topic, r.partition, r.offset) in rejected for r in batch.records()]
