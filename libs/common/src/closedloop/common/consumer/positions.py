"""Positions in PostgreSQL: the offset moves in the transaction of its effects, and only from where it was (the fence)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiokafka import TopicPartition

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.failures import FenceLost, PositionRefused
from closedloop.common.kafka.source import KafkaSource
from closedloop.common.postgres.pool import Connection

CONSUMER_OFFSET_DDL: Final = """
CREATE TABLE consumer_offset (
    topic        text        NOT NULL,
    partition    integer     NOT NULL,
    next_offset  bigint      NOT NULL,
    cluster_id   text        NOT NULL,
    topic_id     text        NOT NULL,
    watermark    timestamptz,             -- greatest event time applied
    moved_at     timestamptz,             -- when records were applied last
    caught_up_at timestamptz,             -- when a member last saw nothing unread
    PRIMARY KEY (topic, partition)
)"""
GRACE: Final = timedelta(seconds=60)
CAUGHT_UP_FOR: Final = timedelta(seconds=20)
"""A member repeats that it has nothing unread every few seconds; an older word does not count."""


async def restore(connection: Connection, source: KafkaSource, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """The position of each partition, made at the oldest record kept where there is none. Raises PositionRefused."""
    cluster_id, topic_ids = await source.identity()
    # those of other members as well: a frontier must wait for a partition that nobody has read yet
    everything = {*partitions, *(TopicPartition(topic, p) for topic in source.topics for p in range(source.partitions(topic)))}
    ends = await source.ends(sorted(everything))
    await connection.executemany(
        """INSERT INTO consumer_offset (topic, partition, next_offset, cluster_id, topic_id)
           VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING""",
        [(tp.topic, tp.partition, ends[tp][0], cluster_id, topic_ids[tp.topic]) for tp in sorted(everything)],
    )
    rows = await connection.fetch("SELECT * FROM consumer_offset")
    found = {TopicPartition(row["topic"], row["partition"]): row for row in rows}
    positions: dict[TopicPartition, int] = {}
    for tp in partitions:
        row = found[tp]
        first, last = ends[tp]
        where = f"{tp.topic}/{tp.partition}"
        if row["cluster_id"] != cluster_id:
            raise PositionRefused(f"The position of {where} belongs to another Kafka cluster ({row['cluster_id']}). {_WAY_OUT}")
        if row["topic_id"] != topic_ids[tp.topic]:
            raise PositionRefused(f"The topic {tp.topic} was deleted and made again since this service read it. {_WAY_OUT}")
        if not first <= row["next_offset"] <= last:
            raise PositionRefused(
                f"The position {row['next_offset']} of {where} is outside of what Kafka keeps ({first} to {last}). {_WAY_OUT}"
            )
        positions[tp] = row["next_offset"]
    return positions


_WAY_OUT: Final = (
    "Point KAFKA_BOOTSTRAP at the right servers, or see `closedloop offsets show` and accept the loss or the "
    "re-reading with `closedloop offsets reset`."
)


async def advance(connection: Connection, batch: Batch, watermarks: dict[TopicPartition, datetime]) -> None:
    """Move every partition of the batch from its start to its end, or raise FenceLost. Call first in the transaction."""
    parts = batch.slices
    status = await connection.execute(
        """UPDATE consumer_offset AS o
           SET next_offset = b.upto, watermark = greatest(o.watermark, b.watermark), moved_at = clock_timestamp()
           FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::timestamptz[])
                AS b (topic, partition, start, upto, watermark)
           WHERE o.topic = b.topic AND o.partition = b.partition AND o.next_offset = b.start""",
        [part.partition.topic for part in parts],
        [part.partition.partition for part in parts],
        [part.start for part in parts],
        [part.end for part in parts],
        [watermarks.get(part.partition) for part in parts],
    )
    if status != f"UPDATE {len(parts)}":
        raise FenceLost


async def mark_caught_up(connection: Connection, partitions: Sequence[TopicPartition]) -> None:
    """Note that nothing is unread in these partitions now."""
    await connection.execute(
        """UPDATE consumer_offset AS o SET caught_up_at = clock_timestamp()
           FROM unnest($1::text[], $2::int[]) AS p (topic, partition)
           WHERE o.topic = p.topic AND o.partition = p.partition""",
        [tp.topic for tp in partitions],
        [tp.partition for tp in partitions],
    )


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition as `frontier` sees it. All times are aware."""

    watermark: datetime | None
    moved_at: datetime | None
    caught_up_at: datetime | None

    def is_idle(self, now: datetime, grace: timedelta) -> bool:
        """Nothing unread, and nothing came for the grace."""
        caught_up = self.caught_up_at is not None and now - self.caught_up_at <= CAUGHT_UP_FOR
        return caught_up and (self.moved_at is None or now - self.moved_at > grace)


def frontier_of(partitions: Sequence[PartitionState], now: datetime, grace: timedelta = GRACE) -> datetime | None:
    """Up to where statements about event time may be made: all that was said before it has, by all appearance, arrived.

    The least watermark of the partitions that are not idle, or the clock where all are, less the grace. None where a
    partition that is not idle has no watermark yet.
    """
    busy = [state.watermark for state in partitions if not state.is_idle(now, grace)]
    if not partitions or any(watermark is None for watermark in busy):
        return None
    least = min((watermark for watermark in busy if watermark is not None), default=now)
    return min(least, now) - grace


async def read_frontier(connection: Connection, topics: Sequence[str], grace: timedelta = GRACE) -> datetime | None:
    """`frontier_of` the partitions of these topics, by the database's clock."""
    rows = await connection.fetch(
        """SELECT watermark, moved_at, caught_up_at, clock_timestamp() AS now
           FROM consumer_offset WHERE topic = ANY ($1)""",
        list(topics),
    )
    if not rows:
        return None
    states = [PartitionState(row["watermark"], row["moved_at"], row["caught_up_at"]) for row in rows]
    return frontier_of(states, rows[0]["now"], grace)
