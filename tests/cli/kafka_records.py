"""Reading what stands in Kafka."""

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition

from closedloop.cli.connections import reading
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.source import Record


def records_of(bootstrap: str, topic: str, partitions: int) -> list[Record]:
    """Every record of a topic."""
    return asyncio.run(_records(bootstrap, topic, partitions))


async def _records(bootstrap: str, topic: str, partitions: int) -> list[Record]:
    held: Sequence[TopicPartition] = [TopicPartition(topic, number) for number in range(partitions)]
    found: list[Record] = []
    async with reading(KafkaSettings(bootstrap=bootstrap)) as consumer, asyncio.timeout(60):
        consumer.assign(held)
        ends = await consumer.end_offsets(held)
        await consumer.seek_to_beginning(*held)
        unread = {tp for tp in held if ends[tp] > 0}
        while unread:
            for records in (await consumer.getmany(*unread, timeout_ms=500)).values():
                found.extend(records)
            unread = {tp for tp in unread if await consumer.position(tp) < ends[tp]}
    return found
