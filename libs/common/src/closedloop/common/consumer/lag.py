"""How far behind a member is, for Prometheus."""

from datetime import UTC, datetime

from aiokafka import TopicPartition

from closedloop.common.consumer.batch import Batch
from closedloop.common.kafka.source import KafkaSource
from closedloop.common.telemetry import metrics


class Lag:
    """Records and seconds, of the partitions that this member holds."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source
        self._ages: dict[TopicPartition, float] = {}

    def forget(self) -> None:
        """What is said of partitions that another member has now would stand for ever."""
        metrics.LAG.clear()
        metrics.LAG_SECONDS.clear()
        self._ages.clear()

    def committed(self, batch: Batch) -> None:
        """The positions are behind this batch now."""
        for part in batch.slices:
            topic = part.partition.topic
            unread = self._source.unread(part.partition, part.end) or 0
            metrics.LAG.labels(topic, str(part.partition.partition)).set(unread)
            age = datetime.now(UTC).timestamp() - part.records[-1].timestamp / 1000
            self._ages[part.partition] = max(0.0, age) if unread else 0
            metrics.LAG_SECONDS.labels(topic).set(max(age for tp, age in self._ages.items() if tp.topic == topic))
