"""Reading with positions that PostgreSQL keeps. No other module knows aiokafka's consumer: another client is one file."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaConnectionError, KafkaError, NoOffsetForPartitionError, UnknownTopicOrPartitionError
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata

from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.closing import close_connections
from closedloop.common.kafka.refusals import refusal
from closedloop.common.kafka.topic_identity import read_identity

Record: TypeAlias = ConsumerRecord
STOP_TIMEOUT_S = 5.0
ASK_TIMEOUT_S = 10.0
REBALANCING_S = 1.0
SESSION_TIMEOUT_MS = 45_000
# aiokafka would leave the group when a database outage keeps us from polling; our own watchdog judges progress instead
MAX_POLL_INTERVAL_MS = 24 * 3600 * 1000


class _Rebalanced(ConsumerRebalanceListener):
    def __init__(self, source: "KafkaSource") -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: Any) -> None:
        self._source.generation += 1

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._source.generation += 1


class KafkaSource:
    """A member of a consumer group over whole topics.

    `generation` changes with every rebalance; records polled under an older one must not be used, and positions
    must be set anew (`seek`) before the next poll counts.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        topics: Sequence[str],
        *,
        member: str | None = None,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
        max_partition_fetch_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        self._kafka = kafka
        self.generation = 0
        self.topics = list(topics)
        self._options: dict[str, Any] = dict(
            **kafka.client_options(),
            group_id=group,
            group_instance_id=member,
            client_id=group,
            enable_auto_commit=False,
            # a position that Kafka no longer keeps must be refused, not jumped over
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=min(3000, session_timeout_ms // 3),
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            rebalance_timeout_ms=session_timeout_ms,
            # each topic's partitions in turn; the sticky one may give one member all of a busy topic, and others none of it
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
            max_partition_fetch_bytes=max_partition_fetch_bytes,
            fetch_max_bytes=16 * 1024 * 1024,
            metadata_max_age_ms=60_000,
        )
        self._consumer = AIOKafkaConsumer(**self._options)
        self._used = False

    async def start(self) -> None:
        """Connect and join the group; again, with a new client, where the one before failed. Raises KafkaError while no broker
        answers or a topic is missing."""
        if self._used:
            await self.stop()
            self._consumer = AIOKafkaConsumer(**self._options)
        self._used = True
        self._consumer.subscribe(self.topics, listener=_Rebalanced(self))
        try:
            await self._consumer.start()
        except UnknownTopicOrPartitionError:
            raise UnknownTopicOrPartitionError(f"not all of the topics {', '.join(self.topics)} exist") from None
        except KafkaError as error:
            said = await refusal(error, self._kafka)
            if said is None and isinstance(error, KafkaConnectionError):
                said = f"no Kafka answers at {self._kafka.bootstrap}; is KAFKA_BOOTSTRAP right?"
            raise type(error)(said) if said else error from None

    async def stop(self) -> None:
        """Leave without commit: positions are in PostgreSQL."""
        await stop_consumer(self._consumer)

    @property
    def connected(self) -> bool:
        """Whether any broker is connected. A broker that is frozen counts for 40 s more, until a request runs out of time."""
        return any(connection.connected() for connection in self._consumer._client._conns.values())

    def assigned(self) -> set[TopicPartition]:
        """The partitions that this member holds now."""
        return set(self._consumer.assignment())

    async def poll(self, max_records: int, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        """At most `max_records` that have come, waiting at most `timeout_ms` for the first. Raises KafkaError."""
        try:
            # while the group rebalances aiokafka knows no time limit; nothing is lost, as it takes records without waiting
            async with asyncio.timeout(timeout_ms / 1000 + REBALANCING_S):
                polled: dict[TopicPartition, list[Record]] = await self._consumer.getmany(
                    timeout_ms=timeout_ms, max_records=max_records
                )
        except (NoOffsetForPartitionError, TimeoutError):
            return {}  # newly assigned, and `seek` has not been called yet; or in the middle of a rebalance
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise KafkaError("the client's own task was cancelled") from None
        except (AssertionError, UnicodeDecodeError) as error:  # what it asserts of itself; a header's name that is no text
            raise KafkaError(f"the client failed: {type(error).__name__}") from error
        return polled

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """The next poll of `partition` begins at `offset`."""
        self._consumer.seek(partition, offset)

    async def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """(first offset kept, next offset to be written) of each. Raises KafkaError or TimeoutError."""
        # aiokafka's own limit is 40 s for each
        async with asyncio.timeout(ASK_TIMEOUT_S):
            first = await self._consumer.beginning_offsets(list(partitions))
            last = await self._consumer.end_offsets(list(partitions))
        return {tp: (first[tp], last[tp]) for tp in partitions}

    def unread(self, partition: TopicPartition, position: int) -> int | None:
        """How many records stand after `position`, as of the last fetch; None where nothing was fetched yet or it is not held."""
        if partition not in self._consumer.assignment():
            return None
        end = self._consumer.last_stable_offset(partition)
        return None if end is None or end < 0 else max(0, end - position)

    def position(self, partition: TopicPartition) -> int | None:
        """The offset after all that was polled, also where no record stands there; None where it is not known or not held."""
        if partition not in self._consumer.assignment():
            return None
        state = self._consumer._subscription.subscription.assignment.state_value(partition)
        return int(state.position) if state.has_valid_position else None

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has, 0 while unknown."""
        return len(self._consumer.partitions_for_topic(topic) or ())

    async def identity(self) -> tuple[str, dict[str, str]]:
        """(cluster id, topic → topic id). Raises KafkaError."""
        cluster_id, ids = await read_identity(self._consumer._client, self.topics)
        missing = [topic for topic in self.topics if topic not in ids]
        if missing:
            # a broker that has just started may not know it yet
            raise UnknownTopicOrPartitionError(f"the broker does not know {', '.join(missing)}")
        return cluster_id, ids

    async def commit(self, positions: dict[TopicPartition, int]) -> None:
        """Tell the group's offsets to lag tools. A failure matters to nobody else and is swallowed."""
        held = {tp: OffsetAndMetadata(offset, "") for tp, offset in positions.items() if tp in self.assigned()}
        if held:
            try:
                await asyncio.wait_for(self._consumer.commit(held), 5)
            except (KafkaError, TimeoutError):
                return


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Bounded, as aiokafka's stop may hang, raise or cancel itself while the broker is away."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stopping], timeout=STOP_TIMEOUT_S)
    if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
        stopping.cancel()
    # without its connections its tasks come to their end
    await close_connections(consumer._client)
