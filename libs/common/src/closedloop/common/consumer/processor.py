"""What a service does with batches: the consumer loop's other side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from aiokafka import TopicPartition

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.failures import Rejection
from closedloop.common.postgres.pool import Connection

T = TypeVar("T")


@dataclass(frozen=True)
class Decoded(Generic[T]):
    """A batch as its service reads it: what to apply, what to reject (in record order), how far event time has come."""

    payload: T
    rejections: Sequence[Rejection] = ()
    watermarks: Mapping[TopicPartition, datetime] = field(default_factory=dict)


class Processor(Protocol[T]):
    """What a service does with batches. `decode` is pure and must not raise for a bad record, but list it."""

    @property
    def topics(self) -> Sequence[str]:
        """The topics that are read."""

    def decode(self, batch: Batch) -> Decoded[T]:
        """Records → payload and rejections. Called on a thread; two batches may be decoded at once."""

    async def apply(self, connection: Connection, payload: T) -> Sequence[Rejection]:
        """Write the effects in the open transaction; return what turned out to be unacceptable (such as too late)."""

    def committed(self, payload: T) -> None:
        """The transaction that applied `payload` was committed."""

    def reset(self) -> None:
        """Positions were read anew: forget whatever was cached of the database's state."""
