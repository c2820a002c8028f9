"""The closed list of failures: wait (an outage), reject (this record cannot be taken), bug (anything else)."""

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import asyncpg
from aiokafka.errors import KafkaError

from closedloop.common.kafka.source import Record

# 08 connection, 28 not let in (a password was changed), 40 rollback (serialization, deadlock), 53 resources, 57 operator
# intervention; 55P03 lock not available
WAIT_CLASSES: Final = ("08", "28", "40", "53", "57", "55P03", "25P03")
REJECT_CLASSES: Final = ("22", "23")
MESSAGE_MAX_CHARS: Final = 300
Stage = Literal["decode", "rules", "data", "late", "bug"]


class Kind(enum.Enum):
    """What to do about an exception."""

    WAIT = "wait"
    REJECT = "reject"
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that goes to the dead letters. `message` names field and problem; it never repeats personal data."""

    record: Record
    stage: Stage
    reason: str
    message: str
    attempts: int = 1
    first_seen: datetime | None = None

    def headers(self, consumer: str) -> list[tuple[str, bytes]]:
        """Reason and origin as string headers, in the style of Kafka Connect."""
        seen = self.first_seen or datetime.now(UTC)
        values = {
            "topic": self.record.topic,
            "partition": self.record.partition,
            "offset": self.record.offset,
            "consumer": consumer,
            "stage": self.stage,
            "class": self.reason,
            "message": self.message[:MESSAGE_MAX_CHARS],
            "attempts": self.attempts,
            "first-seen": seen.isoformat(timespec="seconds"),
        }
        return [(f"x-error-{name}", str(value).encode()) for name, value in values.items()]


class FenceLost(Exception):
    """Another member moved this partition's position: nothing of the batch may be written."""


class PositionRefused(Exception):
    """The stored position does not fit this Kafka. The text says what to do."""


def classify(error: BaseException) -> Kind:
    """Which kind of failure an exception from applying a batch is."""
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.InternalClientError):
        # a migration went by; or asyncpg's "cannot switch to state …", which is how a killed server looks at times
        return Kind.WAIT
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state.startswith(WAIT_CLASSES):
            return Kind.WAIT
        return Kind.REJECT if state.startswith(REJECT_CLASSES) else Kind.BUG
    if isinstance(error, asyncpg.InterfaceError):
        # "connection is closed", "pool is closing": the server went away under us
        return Kind.WAIT if "clos" in str(error) or "connection" in str(error) else Kind.BUG
    if isinstance(error, KafkaError | OSError | TimeoutError):
        return Kind.WAIT
    return Kind.BUG
