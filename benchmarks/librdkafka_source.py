"""kpi's source over librdkafka, to measure with: what `KafkaSource` is over aiokafka, but for faults, stops and rebalances.

Nothing is assigned in the client until the loop has told where each partition begins: PostgreSQL knows the positions. Records are
fetched, checked and unpacked on librdkafka's threads; here each becomes an object, on a thread of its own.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import confluent_kafka
from aiokafka import AIOKafkaConsumer, TopicPartition

from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.source import KafkaSource, Record, stop_consumer
from closedloop.common.kafka.topic_identity import read_identity

JOIN_S = 0.1
AT_ONCE = 10_000


class _Fetched(NamedTuple):
    """What is read of a record."""

    topic: Any
    partition: Any
    offset: Any
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Any]


class LibrdkafkaSource(KafkaSource):
    """One member that keeps its partitions."""

    def __init__(self, kafka: KafkaSettings, group: str, topics: Sequence[str]) -> None:
        self.topics = list(topics)
        self.generation = 0
        self._bootstrap = kafka.client_options()["bootstrap_servers"]
        self._client = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": group,
                "client.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "partition.assignment.strategy": "roundrobin",
                "fetch.message.max.bytes": 4 * 1024 * 1024,
                "fetch.max.bytes": 16 * 1024 * 1024,
                # its default of a second costs two thirds of the rate
                "fetch.queue.backoff.ms": 10,
            }
        )
        self._held: set[TopicPartition] = set()
        self._begin: dict[TopicPartition, int] = {}
        self._known: dict[str, int] = {}

    async def start(self) -> None:
        """Join the group, and wait for its partitions."""
        self._client.subscribe(self.topics, on_assign=self._assigned)
        while not self._held:
            await asyncio.to_thread(self._client.poll, JOIN_S)
        listed = await asyncio.to_thread(self._client.list_topics)
        self._known = {topic: len(listed.topics[topic].partitions) for topic in self.topics}

    def _assigned(self, client: Any, partitions: Sequence[Any]) -> None:
        client.assign([])
        self._held = {TopicPartition(one.topic, one.partition) for one in partitions}
        self.generation += 1

    async def stop(self) -> None:
        """Leave."""
        await asyncio.to_thread(self._client.close)

    @property
    def connected(self) -> bool:
        """It has joined, so it was."""
        return True

    def assigned(self) -> set[TopicPartition]:
        """The partitions of the group's plan."""
        return set(self._held)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Begin there."""
        self._begin[partition] = offset

    async def poll(self, max_records: int, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        """As of the interface."""
        if self._begin:
            begin = [confluent_kafka.TopicPartition(tp.topic, tp.partition, offset) for tp, offset in self._begin.items()]
            self._begin = {}
            self._client.assign(begin)
        return await asyncio.to_thread(self._fetch, min(max_records, AT_ONCE), timeout_ms / 1000)

    def _fetch(self, most: int, seconds: float) -> dict[TopicPartition, list[Record]]:
        found: dict[tuple[Any, Any], list[Any]] = {}
        for message in self._client.consume(most, seconds):
            if message.error():
                raise RuntimeError(str(message.error()))
            topic, partition = message.topic(), message.partition()
            record = _Fetched(
                topic,
                partition,
                message.offset(),
                message.timestamp()[1],
                message.key(),
                message.value(),
                list(message.headers() or ()),
            )
            found.setdefault((topic, partition), []).append(record)
        return {TopicPartition(*place): records for place, records in found.items()}

    async def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """As of the interface."""

        def asked(tp: TopicPartition) -> tuple[int, int]:
            low, high = self._client.get_watermark_offsets(confluent_kafka.TopicPartition(tp.topic, tp.partition), timeout=10)
            return low, high

        return {tp: await asyncio.to_thread(asked, tp) for tp in partitions}

    def unread(self, partition: TopicPartition, position: int) -> int | None:
        """Not known."""
        return None

    def position(self, partition: TopicPartition) -> int | None:
        """Not known beyond the last record."""
        return None

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        return self._known.get(topic, 0)

    async def identity(self) -> tuple[str, dict[str, str]]:
        """Asked with the other client: librdkafka's tells no topic ids here."""
        asking = AIOKafkaConsumer(bootstrap_servers=self._bootstrap)
        await asking.start()
        try:
            found = await read_identity(asking._client, self.topics)
        finally:
            await stop_consumer(asking)
        return found

    async def commit(self, positions: dict[TopicPartition, int]) -> None:
        """Tell the group's offsets, without waiting."""
        offsets = [confluent_kafka.TopicPartition(tp.topic, tp.partition, offset) for tp, offset in positions.items()]
        self._client.commit(offsets=offsets, asynchronous=True)
