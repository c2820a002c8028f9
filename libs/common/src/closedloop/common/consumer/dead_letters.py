"""Rejected records to `<topic>-<service>-dlq`: bytes unchanged, reason and origin in headers, once per origin."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from closedloop.common.consumer.failures import Rejection
from closedloop.common.events.topics import dead_letter_name
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.common.kafka.source import Record, stop_consumer

READ_TIMEOUT_S: Final = 20.0
TAIL: Final = 10_000
"""Letters that are read at once, from the end back: until one is of an origin before the position, as the batch before wrote it."""


class DeadLetters:
    """Writes to the partition with the origin's number, so that the tail of a partition tells what was written already.

    After a crash between Kafka's acknowledgement and the database's commit the batch comes again; an origin that
    stands in the tail is not written twice. An origin is an offset and what stood there: a topic that was deleted and made
    again has other records at the same offsets.
    """

    def __init__(self, kafka: KafkaSettings, sink: KafkaSink, service: str) -> None:
        self._kafka = kafka
        self._sink = sink
        self._service = service
        self._written: dict[TopicPartition, set[_Origin]] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._doubtful = False

    async def restore(self, positions: Mapping[TopicPartition, int]) -> None:
        """Learn what earlier members wrote beyond these positions. Raises KafkaError or TimeoutError."""
        self._written = {tp: set() for tp in positions}
        self._positions = dict(positions)
        consumer = AIOKafkaConsumer(**self._kafka.client_options(), enable_auto_commit=False, isolation_level="read_committed")
        try:
            await consumer.start()
            letters = {TopicPartition(dead_letter_name(tp.topic, self._service), tp.partition): tp for tp in positions}
            cluster = await consumer._client.fetch_all_metadata()
            for letter in letters:
                if letter.partition not in (cluster.partitions_for_topic(letter.topic) or ()):
                    raise UnknownTopicOrPartitionError(f"{letter.topic} has no partition {letter.partition}; {_WAY_OUT}")
            first = await consumer.beginning_offsets(list(letters))
            ends = await consumer.end_offsets(list(letters))
            unread = {tp for tp in letters if ends[tp] > first[tp]}
            begins = {tp: max(first[tp], ends[tp] - TAIL) for tp in unread}
            older: set[TopicPartition] = set()
            consumer.assign(unread)
            for tp in unread:
                consumer.seek(tp, begins[tp])
            while unread:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    polled: dict[TopicPartition, list[Record]] = {}
                    while not polled:
                        polled = await consumer.getmany(*unread, timeout_ms=1000)
                for tp, records in polled.items():
                    if self._note(letters[tp], records, positions[letters[tp]]):
                        older.add(tp)
                    if records[-1].offset < ends[tp] - 1:
                        continue
                    if tp in older or begins[tp] == first[tp]:
                        unread.discard(tp)
                    else:
                        ends[tp], begins[tp] = begins[tp], max(first[tp], begins[tp] - TAIL)
                        consumer.seek(tp, begins[tp])
        finally:
            await stop_consumer(consumer)
        self._doubtful = False

    def _note(self, origin: TopicPartition, letters: Sequence[Record], position: int) -> bool:
        """Whether one of them is of an origin before the position."""
        is_older = False
        for letter in letters:
            headers = dict(letter.headers)
            if headers.get("x-error-partition") == str(origin.partition).encode():
                offset = int(headers["x-error-offset"])
                if offset >= position:
                    self._written[origin].add((offset, _content(letter)))
                else:
                    is_older = True
        return is_older

    async def publish(self, rejections: Sequence[Rejection]) -> None:
        """Write those that are not there yet and wait for the acknowledgements. Raises KafkaError or TimeoutError."""
        if self._doubtful and rejections:
            await self.restore(self._positions)
        new = [r for r in rejections if (r.record.offset, _content(r.record)) not in self._written.setdefault(_origin(r), set())]
        # until all are acknowledged some may have been written or not
        self._doubtful = self._doubtful or bool(new)
        await self._sink.publish(
            [
                Message(
                    dead_letter_name(r.record.topic, self._service),
                    r.record.key,
                    r.record.value,
                    [*r.record.headers, *r.headers(self._service)],
                    r.record.partition,
                )
                for r in new
            ]
        )
        self._doubtful = False
        for r in new:
            self._written[_origin(r)].add((r.record.offset, _content(r.record)))

    def committed(self, positions: Mapping[TopicPartition, int]) -> None:
        """These positions hold now: what lies before them will not come again."""
        self._positions |= positions
        for tp, position in positions.items():
            written = self._written.get(tp)
            if written:
                self._written[tp] = {origin for origin in written if origin[0] >= position}


_Origin: TypeAlias = tuple[int, int]
_WAY_OUT: Final = "`closedloop topics --create` makes topics that are missing"


def _content(record: Record) -> int:
    # b"" stands for None where the sink could not write the latter
    return hash((record.key, record.value or b""))


def _origin(rejection: Rejection) -> TopicPartition:
    return TopicPartition(rejection.record.topic, rejection.record.partition)
