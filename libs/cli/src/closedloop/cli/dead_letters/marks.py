"""Which dead letters were replayed: kept in Kafka itself, as the committed offsets of a group that reads nothing.

Kafka forgets the commits of a group without members after `offsets.retention.minutes` (7 days by default). Then letters
show as not replayed again; replaying them once more is harmless, as consumers count an event once.
"""

from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from closedloop.cli.connections import administering, answered, reading
from closedloop.cli.dead_letters.spans import Spans
from closedloop.common.kafka.acls import REPLAY_GROUP
from closedloop.common.kafka.client import KafkaSettings


async def load_marks(kafka: KafkaSettings) -> dict[TopicPartition, Spans]:
    """What was replayed, of every dead-letter partition of which anything was."""
    async with administering(kafka) as admin:
        committed = await answered(lambda: admin.list_consumer_group_offsets(REPLAY_GROUP))
    return {tp: Spans.from_commit(commit.offset, commit.metadata or "") for tp, commit in committed.items() if commit.offset >= 0}


async def save_marks(kafka: KafkaSettings, marks: Mapping[TopicPartition, Spans], first: Mapping[TopicPartition, int]) -> None:
    """Commit the marks of these partitions; `first` is the oldest offset kept of each."""
    async with reading(kafka, group=REPLAY_GROUP) as consumer:
        consumer.assign(list(marks))
        await consumer.commit({tp: OffsetAndMetadata(*spans.to_commit(first[tp])) for tp, spans in marks.items()})
