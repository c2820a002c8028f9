"""The one consumer loop: poll → decode → one transaction of fence, effects and dead letters → commit.

While a batch is being committed the next one is fetched and decoded. Correctness rests on the fence alone (see `positions`):
whatever the group protocol does, a position moves once.
"""

import asyncio
from collections.abc import Container
from typing import Final, Generic, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from closedloop.common.consumer import positions
from closedloop.common.consumer.batch import Batch, Slice
from closedloop.common.consumer.brake import Brake
from closedloop.common.consumer.committer import Committer
from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.failures import FenceLost, Kind, classify
from closedloop.common.consumer.lag import Lag
from closedloop.common.consumer.outages import Outages
from closedloop.common.consumer.processor import Decoded, Processor
from closedloop.common.consumer.watchdog import Watchdog
from closedloop.common.kafka.partitioner import partition_of
from closedloop.common.kafka.source import KafkaSource, Record
from closedloop.common.postgres.pool import Pool
from closedloop.common.telemetry import metrics

log = structlog.get_logger()
T = TypeVar("T")
POLL_MS: Final = 200
GATHER_MS: Final = 20
POLL_RECORDS: Final = 4_000
TELL_EVERY_S: Final = 5.0
RENEW_AFTER: Final = 5
"""Polls that fail in a row though Kafka answers otherwise: then the client itself does not recover."""


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
        self.watchdog = Watchdog()
        self._outages = Outages(self.watchdog)
        self._committer = Committer(pool, dead_letters, processor, self._outages, brake)
        self._lag = Lag(source)
        self._positions: dict[TopicPartition, int] = {}
        self._restored_generation = -1
        self._joined = False
        self._pending: asyncio.Task[None] | None = None
        self._told_at = 0.0
        self._failed_polls = 0

    # --- what others ask and say ---

    @property
    def braked(self) -> str | None:
        """Why an operator is waited for, or None."""
        return self._committer.braked

    def not_ready(self) -> str | None:
        """Why this process should not be relied on, or None: the brake stopped it, or it has never joined its group."""
        if self.braked:
            return f"paused: {self.braked}; look at the dead letters, then resume"
        if not self._joined:
            because = self._outages.because or "is KAFKA_BOOTSTRAP right, and PostgreSQL there?"
            return f"has not joined its consumer group since its start; {because}"
        return None

    def idle_because(self) -> str | None:
        """Why nothing is read at present although it should be, or None. It goes on by itself."""
        if self._outages.is_waiting:
            return f"waits for Kafka or PostgreSQL{f': {because}' if (because := self._outages.because) else ''}"
        if not self._source.connected:
            return "waits for Kafka: no broker is connected"
        if self._restored_generation != self._source.generation:
            return "waits for its partitions: the group is rebalancing"
        return None

    def resume(self) -> None:
        """Let rejections through for 15 minutes, after the brake stopped the consumer."""
        self._committer.resume()

    def stop(self) -> None:
        """Finish the batch in hand, then end `run`."""
        self._outages.stop()
        self._committer.stop()

    # --- the loop ---

    async def run(self) -> None:
        """Consume until `stop`. Raises PositionRefused with a sentence for the operator."""
        try:
            await self._outages.outlast(self._source.start)
            while not self._outages.is_stopping:
                try:
                    await self._turn()
                except FenceLost:
                    self._tell_fence_lost()
                    await self._drop_pending()
                    self._restored_generation = -1
                except KafkaError as error:
                    # positions are checked against what Kafka keeps before anything else is read
                    self._restored_generation = -1
                    self._failed_polls += 1
                    await self._outages.wait("poll", error, self._failed_polls)
                    if self._failed_polls % RENEW_AFTER == 0:
                        await self._outages.outlast(self._source.start)
            await self._drop_pending()
        finally:
            if self._pending is not None:
                self._pending.cancel()
            self._lag.forget()
            await self._source.stop()

    async def _turn(self) -> None:
        if self._restored_generation != self._source.generation:
            await self._drop_pending()
            await self._outages.outlast(self._restore)
            return
        batch = await self._gather()
        if batch is None:
            await self._settle()
            if self._restored_generation == self._source.generation:
                await self._tell_progress()
                await self._skip_gaps(())
                await self._outages.until_stop(lambda: self.watchdog.check(self._source, self._positions))
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
        self._lag.forget()
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
            self._lag.polled(polled)
            for tp, records in polled.items():
                gathered.setdefault(tp, []).extend(records)
                room -= len(records)
            is_more = sum(map(len, polled.values())) == wanted
            is_busy = self._pending is not None and not self._pending.done()
            is_early = clock() < self._linger_until and not self._outages.is_stopping
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
        try:
            await self._settle()
        except FenceLost:
            self._tell_fence_lost()

    # --- one batch ---

    def _decode(self, batch: Batch) -> Decoded[T] | None:
        try:
            return self._processor.decode(batch)
        except Exception:
            log.exception("reading a batch failed")
            return None

    async def _commit(self, batch: Batch, decoded: Decoded[T] | None) -> None:
        await self._committer.commit(batch, decoded)
        self._lag.committed(batch)

    # --- what is told about it ---

    def _tell_fence_lost(self) -> None:
        metrics.FENCE_LOST.inc()
        log.warning("position moved by another member; reading it anew")

    async def _tell_progress(self) -> None:
        """The group's offsets in Kafka, now and then: for lag tools alone, so never ahead of what is committed."""
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= TELL_EVERY_S and self._restored_generation == self._source.generation:
            self._told_at = now
            await self._outages.until_stop(lambda: self._source.commit(self._positions))

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
                    self._lag.skipped(tp, seen)
        except Exception as error:
            if classify(error) is not Kind.WAIT:
                raise
            await self._outages.wait("skip", error, 1)
            return
        self._outages.over()

    def _sample_key(self, part: Slice) -> None:
        """One record a slice: dedup and order hold per partition only while producers agree on the partitioner."""
        record = part.records[-1]
        partitions = self._source.partitions(part.partition.topic)
        if record.key and partitions and partition_of(record.key, partitions) != part.partition.partition:
            metrics.MISPLACED.labels(part.partition.topic).inc()
