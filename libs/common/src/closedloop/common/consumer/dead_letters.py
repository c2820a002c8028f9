"""Rejected records to `<topic>-<service>-dlq`: bytes unchanged, reason and origin in headers, once per origin."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from closedloop.common.consumer.failures import Rejection
from closedloop.common.events.topics import dead_letter_name
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message

READ_TIMEOUT_S: Final = 20.0
TAIL: Final = 10_000
"""More dead letters of one partition than the brake lets one batch have."""


class DeadLetters:
    """Writes to the partition with the origin's number, so that the tail of a partition tells what was written already.

    After a crash between Kafka's acknowledgement and the database's commit the batch comes again; an origin that
    stands in the tail is not written twice.
    """

    def __init__(self, kafka: KafkaSettings, sink: KafkaSink, service: str) -> None:
        self._kafka = kafka
        self._sink = sink
        self._service = service
        self._written: dict[TopicPartition, set[int]] = {}

    async def restore(self, positions: Mapping[TopicPartition, int]) -> None:
        """Learn what earlier members wrote beyond these positions. Raises KafkaError or TimeoutError."""
        self._written = {tp: set() for tp in positions}
        consumer = AIOKafkaConsumer(**self._kafka.client_options(), enable_auto_commit=False, isolation_level="read_committed")
        try:
            await consumer.start()
            letters = {TopicPartition(dead_letter_name(tp.topic, self._service), tp.partition): tp for tp in positions}
            first = await consumer.beginning_offsets(list(letters))
            ends = await consumer.end_offsets(list(letters))
            unread = {tp for tp in letters if ends[tp] > first[tp]}
            consumer.assign(unread)
            for tp in unread:
                consumer.seek(tp, max(first[tp], ends[tp] - TAIL))
            async with asyncio.timeout(READ_TIMEOUT_S):
                while unread:
                    for tp, records in (await consumer.getmany(*unread, timeout_ms=1000)).items():
                        self._note(letters[tp], records, positions[letters[tp]])
                        if records and records[-1].offset >= ends[tp] - 1:
                            unread.discard(tp)
        finally:
            await consumer.stop()

    def _note(self, origin: TopicPartition, letters: Sequence[AIOKafkaConsumer], position: int) -> None:
        for letter in letters:
            headers = dict(letter.headers)
            if headers.get("x-error-partition") == str(origin.partition).encode():
                offset = int(headers["x-error-offset"])
                if offset >= position:
                    self._written[origin].add(offset)

    async def publish(self, rejections: Sequence[Rejection]) -> None:
        """Write those that are not there yet and wait for the acknowledgements. Raises KafkaError."""
        new = [r for r in rejections if r.record.offset not in self._written.setdefault(_origin(r), set())]
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
        for r in new:
            self._written[_origin(r)].add(r.record.offset)

    def committed(self, positions: Mapping[TopicPartition, int]) -> None:
        """These positions hold now: what lies before them will not come again."""
        for tp, position in positions.items():
            written = self._written.get(tp)
            if written:
                self._written[tp] = {offset for offset in written if offset >= position}


def _origin(rejection: Rejection) -> TopicPartition:
    return TopicPartition(rejection.record.topic, rejection.record.partition)
