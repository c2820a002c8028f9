"""One batch for good: fence, effects and dead letters in one transaction, whatever fails in that."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

import structlog

from closedloop.common.consumer import positions
from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.brake import Brake
from closedloop.common.consumer.crashpoints import crashpoint
from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.failures import FenceLost, Kind, Rejection, classify
from closedloop.common.consumer.outages import Outages
from closedloop.common.consumer.processor import Decoded, Processor
from closedloop.common.postgres.pool import Pool
from closedloop.common.telemetry import metrics, tracing

log = structlog.get_logger()
T = TypeVar("T")
BUG_TRIES: Final = 3


class _Braked(Exception):
    """The transaction was rolled back before its rejections went to the dead letters. The text says why."""


class Committer(Generic[T]):
    """An outage is waited out, a batch that cannot be applied is halved until the record that cannot be is alone, and where too
    many are rejected an operator is waited for (`braked` says why)."""

    def __init__(
        self, pool: Pool, dead_letters: DeadLetters, processor: Processor[T], outages: Outages, brake: Brake | None = None
    ) -> None:
        self._pool = pool
        self._dead_letters = dead_letters
        self._processor = processor
        self._outages = outages
        self._brake = brake or Brake()
        self.braked: str | None = None
        self._resume = asyncio.Event()

    def resume(self) -> None:
        """Let rejections through for 15 minutes, after the brake stopped the consumer."""
        self._brake.suspend()
        self._resume.set()

    def stop(self) -> None:
        """Wait for no operator any more."""
        self._resume.set()

    async def commit(self, batch: Batch, decoded: Decoded[T] | None) -> None:
        """Returns when the batch is committed, or a stop interrupted the wait for that; raises FenceLost.

        Without `decoded` it is decoded here, so that what fails in that is isolated as well.
        """
        outages = failures = 0
        first_seen: datetime | None = None
        is_rejected = False
        while True:
            try:
                if decoded is None:
                    decoded = await asyncio.to_thread(self._processor.decode, batch)
                with tracing.processing(self._processor.topics, ((r.value, r.headers) for r in batch.records()), len(batch)):
                    await self._transaction(batch, decoded)
                return
            except FenceLost:
                raise
            except _Braked as braked:
                if not await self._hold(str(braked)):
                    return
            except Exception as error:
                kind = classify(error)
                # a record that is given up is nothing but a dead letter: there is nothing left to isolate
                if kind is Kind.WAIT or is_rejected:
                    outages += 1
                    if not await self._outages.wait("reject" if is_rejected else "apply", error, outages):
                        return
                elif len(batch) > 1:
                    for half in batch.halves():
                        if self._outages.is_stopping:
                            return
                        await self.commit(half, None)
                    return
                else:
                    failures += 1
                    first_seen = first_seen or datetime.now(UTC)
                    decoded = None
                    if kind is Kind.REJECT or failures == BUG_TRIES:
                        decoded = self._rejected(batch, error, kind, failures, first_seen)
                        is_rejected = True

    def _rejected(self, batch: Batch, error: Exception, kind: Kind, attempts: int, first_seen: datetime) -> Decoded[T]:
        [record] = batch.records()
        log.error("record rejected", topic=record.topic, partition=record.partition, offset=record.offset, exc_info=error)
        rejection = Rejection(
            record,
            "bug" if kind is Kind.BUG else "data",
            type(error).__name__,
            "the service failed on this record; its log names the place" if kind is Kind.BUG else "the database refused its data",
            attempts,
            first_seen,
        )
        return Decoded(self._processor.decode(Batch(())).payload, [rejection])

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
                if reason := self._brake.check(outcomes):
                    raise _Braked(reason)
                await self._dead_letters.publish(rejections)
                crashpoint("consumer.after_dead_letters")
        crashpoint("consumer.after_commit")
        self._brake.count(outcomes)
        self._processor.committed(decoded.payload)
        self._dead_letters.committed(batch.ends())
        self._outages.over()
        _count(batch, rejections, asyncio.get_running_loop().time() - started)

    async def _hold(self, reason: str) -> bool:
        """Until an operator lets it go on. False: stopped meanwhile."""
        self.braked = reason
        metrics.BRAKED.set(1)
        log.critical("consumer paused", reason=reason)
        self._resume.clear()
        if not self._outages.is_stopping:
            await self._resume.wait()
        self.braked = None
        metrics.BRAKED.set(0)
        return not self._outages.is_stopping


def _outcomes(batch: Batch, rejections: Sequence[Rejection]) -> list[bool]:
    """For each record in order whether it is rejected. Too late says something of the event, nothing of a deployment."""
    rejected = {(r.record.topic, r.record.partition, r.record.offset) for r in rejections if r.stage != "late"}
    if not rejected:
        return [False] * len(batch)
    return [(r.topic, r.partition, r.offset) in rejected for r in batch.records()]


def _count(batch: Batch, rejections: Sequence[Rejection], seconds: float) -> None:
    for part in batch.slices:
        topic = part.partition.topic
        rejected = sum(1 for r in rejections if r.record.topic == topic and r.record.partition == part.partition.partition)
        metrics.RECORDS.labels(topic, "rejected").inc(rejected)
        metrics.RECORDS.labels(topic, "taken").inc(len(part.records) - rejected)
    for r in rejections:
        metrics.DEAD_LETTERS.labels(r.record.topic, r.stage).inc()
    metrics.BATCH_RECORDS.observe(len(batch))
    metrics.BATCH_SECONDS.observe(seconds)
