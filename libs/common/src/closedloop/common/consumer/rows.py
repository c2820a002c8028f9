"""Row by row: how services with modest rates read batches. (kpi reads in columns, by the same rules.)"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiokafka import TopicPartition
from msgspec import structs

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.processor import Decoded
from closedloop.common.events.decoder import check, check_topic, decode_record
from closedloop.common.events.model import AnyEvent
from closedloop.common.events.rules import Refused
from closedloop.common.events.topics import TOPIC_OF_TYPE
from closedloop.common.kafka.source import Record
from closedloop.common.postgres.pool import Connection
from closedloop.common.telemetry import tracing


@dataclass(frozen=True, slots=True)
class Received:
    """A well-formed event and where it stood. `at` is its event time in UTC."""

    event: AnyEvent
    at: datetime
    record: Record


Apply = Callable[[Connection, Sequence[Received]], Awaitable[Sequence[Rejection]]]


@dataclass(frozen=True)
class Subscription:
    """What a service reads: the event types it acts on. Other known types on their topics are skipped."""

    types: tuple[type[AnyEvent], ...]

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics of these types."""
        return tuple(sorted({TOPIC_OF_TYPE[cls].name for cls in self.types}))


class RowProcessor:
    """Decodes each record by the shared rules and hands the subscribed ones, in order, to `apply`."""

    def __init__(self, subscription: Subscription, apply: Apply, wake: Callable[[], None] | None = None) -> None:
        self.topics: Final = subscription.topics
        self._types: Final = frozenset(subscription.types)
        self._apply = apply
        self._wake = wake

    def decode(self, batch: Batch) -> Decoded[Sequence[Received]]:
        """Records → events, rejections, watermarks."""
        events: list[Received] = []
        rejections: list[Rejection] = []
        watermarks: dict[TopicPartition, datetime] = {}
        for part in batch.slices:
            latest: datetime | None = None
            for record in part.records:
                try:
                    received = receive(record)
                except Refused as refused:
                    rejections.append(rejection_of(record, refused))
                    continue
                if latest is None or received.at > latest:
                    latest = received.at
                if type(received.event) in self._types:
                    events.append(received)
            if latest is not None:
                watermarks[part.partition] = latest
        return Decoded(events, rejections, watermarks)

    async def apply(self, connection: Connection, payload: Sequence[Received]) -> Sequence[Rejection]:
        """The service's use case, in the loop's transaction."""
        return await self._apply(connection, payload) if payload else ()

    def committed(self, payload: Sequence[Received]) -> None:
        """Wake the relay: there may be something to say."""
        if payload and self._wake:
            self._wake()

    def reset(self) -> None:
        """Nothing is cached."""


def receive(record: Record) -> Received:
    """Decode and check one record. Raises Refused."""
    event = decode_record(record.value, record.headers)
    if event.traceparent is None and record.headers and (carried := tracing.of_record(None, record.headers)):
        event = structs.replace(event, traceparent=carried)
    check_topic(event, record.topic)
    at = check(event, datetime.fromtimestamp(record.timestamp / 1000, UTC))
    return Received(event, at, record)


def rejection_of(record: Record, refused: Refused) -> Rejection:
    """A refused record as it goes to the dead letters. The class is the field (or `json`), so that reasons can be counted."""
    return Rejection(record, "rules" if refused.field else "decode", refused.field or "json", str(refused))
