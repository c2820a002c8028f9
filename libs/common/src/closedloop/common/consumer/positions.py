"""Positions in PostgreSQL: the offset moves in the transaction of its effects, and only from where it was (the fence)."""

from collections.abc import Sequence
from datetime import datetime
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
    PRIMARY KEY (topic, partition)
)"""


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
    # asked again, as the member that held them may still move them: what it had read, Kafka has by now
    ends = await source.ends(partitions)
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


async def skip(connection: Connection, partition: TopicPartition, start: int, end: int) -> None:
    """Move over offsets at which no record stands: marks of transactions, what was compacted away. Raises FenceLost."""
    status = await connection.execute(
        "UPDATE consumer_offset SET next_offset = $4 WHERE topic = $1 AND partition = $2 AND next_offset = $3",
        partition.topic,
        partition.partition,
        start,
        end,
    )
    if status != "UPDATE 1":
        raise FenceLost
