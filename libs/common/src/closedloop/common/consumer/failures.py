"""The closed list of failures: wait (an outage), reject (this record cannot be taken), bug (anything else)."""

import enum
import errno
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import asyncpg
from aiokafka import errors as kafka

from closedloop.common.kafka.source import Record

# 08 connection, 28 not let in (a password was changed), 40 rollback (serialization, deadlock), 53 resources, 57 operator
# intervention; the pool's own limits: 55P03 a lock was not had in time, 25P03 the transaction lay idle (a frozen process)
WAIT_CLASSES: Final = ("08", "28", "40", "53", "57", "55P03", "25P03")
REJECT_CLASSES: Final = ("22", "23")
# beside those that aiokafka itself calls retriable
WAIT_KAFKA: Final = (
    # not let in: waited for and said, like PostgreSQL's class 28
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.IllegalSaslStateError,
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.ClusterAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.TopicAuthorizationFailedError,
    # the servers are not there, or busy with themselves
    kafka.BrokerNotAvailableError,
    kafka.KafkaTimeoutError,
    kafka.KafkaUnavailableError,
    kafka.ListenerNotFound,
    kafka.QuotaViolationError,
    kafka.ReassignmentInProgress,
    kafka.ReplicaNotAvailableError,
    kafka.StaleControllerEpochError,
    kafka.StaleLeaderEpochCodeError,
    kafka.UnknownError,
    # the bytes were damaged on their way
    kafka.CorruptRecordException,
    # the group moves on without this member, which joins again
    kafka.CommitFailedError,
    kafka.IllegalGenerationError,
    kafka.MemberIdRequired,
    kafka.RebalanceInProgressError,
    kafka.UnknownMemberIdError,
    # this client is used up; the next one is made anew
    kafka.DuplicateSequenceNumber,
    kafka.FetchSessionIdNotFound,
    kafka.InvalidFetchSessionEpoch,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.OutOfOrderSequenceNumber,
    kafka.ProducerClosed,
    kafka.ProducerFenced,
    kafka.UnknownProducerId,
)
WAIT_ERRNOS: Final = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        # no descriptor or buffer is left for one more connection
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        # the Unix socket of a server that is away; a file that is missing is told with its name
        errno.ENOENT,
    }
)
_OF_SEVERAL_ADDRESSES: Final = "Multiple exceptions"
"""How asyncio and uvloop begin what they say where a host has several addresses and none lets us in; it has no errno."""
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
    if isinstance(error, kafka.KafkaError):
        # KafkaError itself is what `closedloop.common.kafka` makes of a client that failed
        can_pass = error.retriable or type(error) is kafka.KafkaError or isinstance(error, WAIT_KAFKA)
        return Kind.WAIT if can_pass else Kind.BUG
    return Kind.WAIT if isinstance(error, OSError) and _is_of_a_connection(error) else Kind.BUG


def _is_of_a_connection(error: OSError) -> bool:
    """Else it is of a file, or of what our own code did."""
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror | ssl.SSLError):
        return True
    return error.filename is None and (error.errno in WAIT_ERRNOS or str(error).startswith(_OF_SEVERAL_ADDRESSES))
