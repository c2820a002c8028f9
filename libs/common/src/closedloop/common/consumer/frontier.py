"""The frontier: up to where statements about event time may be made."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from aiokafka import TopicPartition

from closedloop.common.kafka.end_offsets import EndOffsets
from closedloop.common.postgres.pool import Pool

GRACE: Final = timedelta(seconds=60)
STEADY: Final = timedelta(seconds=2)
ReadFrontier: TypeAlias = Callable[[str], Awaitable[datetime | None]]


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition at an instant. All times are aware."""

    watermark: datetime | None
    moved_at: datetime | None
    is_read: bool
    """All that stood in Kafka at the instant is applied, whoever did it."""

    def is_idle(self, now: datetime, grace: timedelta) -> bool:
        """Nothing unread, and nothing came for the grace."""
        return self.is_read and (self.moved_at is None or now - self.moved_at > grace)


def frontier_of(partitions: Sequence[PartitionState], now: datetime, grace: timedelta = GRACE) -> datetime | None:
    """All that was said before it has, by all appearance, arrived and is applied.

    The least watermark of the partitions that are not idle, or the clock where all are, less the grace. None where a
    partition that is not idle has no watermark yet.
    """
    busy = [state.watermark for state in partitions if not state.is_idle(now, grace)]
    if not partitions or any(watermark is None for watermark in busy):
        return None
    least = min((watermark for watermark in busy if watermark is not None), default=now)
    return min(least, now) - grace


class Frontier:
    """Reads the frontier of a topic; several processes may share its partitions."""

    def __init__(self, pool: Pool, ends: EndOffsets) -> None:
        self._pool = pool
        self._ends = ends
        self._found: dict[str, datetime | None] = {}
        self._unsteady_at: dict[str, datetime] = {}

    async def read(self, topic: str) -> datetime | None:
        """The topic's frontier by the database's clock, None where nothing can be stated at present.

        Raises KafkaError while Kafka is away: nobody knows then what stands unread.
        """
        # The order makes it true: what stood in Kafka after this instant, then what is applied of it.
        known = await self._pool.fetch("SELECT partition, clock_timestamp() AS now FROM consumer_offset WHERE topic = $1", topic)
        if not known:
            return None
        now = known[0]["now"]
        ends = await self._ends.ask(TopicPartition(topic, row["partition"]) for row in known)
        rows = await self._pool.fetch(
            "SELECT partition, next_offset, watermark, moved_at FROM consumer_offset WHERE topic = $1", topic
        )
        states = [
            PartitionState(
                row["watermark"], row["moved_at"], row["next_offset"] >= ends.get(TopicPartition(topic, row["partition"]), 2**63)
            )
            for row in rows
        ]
        return self._steady(topic, frontier_of(states, now), now)

    def _steady(self, topic: str, found: datetime | None, now: datetime) -> datetime | None:
        """None for a moment where time went back: an import begins, and its first records reach one partition before the others."""
        before, self._found[topic] = self._found.get(topic), found
        if found is None or before is None or found < before:
            self._unsteady_at[topic] = now
        return found if now - self._unsteady_at.get(topic, now) >= STEADY else None
