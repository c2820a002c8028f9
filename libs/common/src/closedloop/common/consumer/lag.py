"""How far behind a member is, for Prometheus."""

import functools
import time
from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition

from closedloop.common.consumer.batch import Batch
from closedloop.common.kafka.source import KafkaSource, Record
from closedloop.common.telemetry import metrics


class Lag:
    """Records and seconds, of the partitions that this member holds. Told at each scrape: it grows while nothing is applied."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source
        # the position, and when the record there (or where it is not known, the one before) was appended: ms since 1970
        self._reached: dict[TopicPartition, tuple[int, int]] = {}

    def forget(self) -> None:
        """What is said of partitions that another member has now would stand for ever."""
        metrics.LAG.clear()
        metrics.LAG_SECONDS.clear()
        self._reached.clear()

    def polled(self, polled: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """These have come."""
        for partition, records in polled.items():
            known = self._reached.get(partition)
            if known is None:
                self._tell(partition)
            if known is None or known[0] == records[0].offset:
                self._reached[partition] = records[0].offset, records[0].timestamp

    def committed(self, batch: Batch) -> None:
        """The positions are behind this batch now."""
        for part in batch.slices:
            self._reached[part.partition] = part.end, part.records[-1].timestamp

    def skipped(self, partition: TopicPartition, position: int) -> None:
        """No record stood before this position."""
        if partition in self._reached:
            self._reached[partition] = position, self._reached[partition][1]

    def _tell(self, partition: TopicPartition) -> None:
        metrics.LAG.labels(partition.topic, str(partition.partition)).set_function(functools.partial(self._unread, partition))
        metrics.LAG_SECONDS.labels(partition.topic).set_function(functools.partial(self._seconds, partition.topic))

    def _unread(self, partition: TopicPartition) -> int:
        return self._source.unread(partition, self._reached[partition][0]) or 0

    def _seconds(self, topic: str) -> float:
        unread = [at for tp, (_, at) in self._reached.items() if tp.topic == topic and self._unread(tp)]
        return max(0.0, time.time() - min(unread) / 1000) if unread else 0.0
