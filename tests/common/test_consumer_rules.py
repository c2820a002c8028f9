"""The consumer's rules without Kafka: halving a batch, the brake, the frontier, kinds of failure."""

import errno
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from closedloop.common.consumer.batch import Batch, Slice
from closedloop.common.consumer.brake import Brake
from closedloop.common.consumer.failures import Kind, classify
from closedloop.common.consumer.frontier import PartitionState, frontier_of
from closedloop.local.ports import free_port

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
GRACE = timedelta(seconds=60)


def record(partition: int, offset: int) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("t", partition, offset, 0, 1, b"k", b"v", None, 1, 1, ())


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=9), min_size=1, max_size=4))
def test_halving_a_batch_keeps_every_record_and_every_position(gaps: list[list[int]]) -> None:
    slices = []
    for partition, steps in enumerate(gaps):
        offsets = [sum(steps[: i + 1]) for i in range(len(steps))]
        slices.append(Slice(TopicPartition("t", partition), 0, [record(partition, o) for o in offsets]))
    batch = Batch(tuple(slices))
    if len(batch) < 2:
        return
    first, second = batch.halves()
    assert len(first) == len(batch) // 2
    assert [*first.records(), *second.records()] != [] and len(first) + len(second) == len(batch)
    assert sorted((r.partition, r.offset) for half in (first, second) for r in half.records()) == sorted(
        (r.partition, r.offset) for r in batch.records()
    )
    ends = {part.partition: part.end for part in first.slices}
    for part in second.slices:
        assert part.start == ends.get(part.partition, 0)
    assert {**first.ends(), **second.ends()} == batch.ends()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def take(brake: Brake, outcomes: list[bool]) -> str | None:
    """As the loop does: judged, and counted where it was committed."""
    reason = brake.check(outcomes)
    if reason is None:
        brake.count(outcomes)
    return reason


def test_a_hundred_rejections_in_a_row_stop_the_consumer_even_across_batches() -> None:
    brake = Brake(clock=Clock())
    assert take(brake, [False] * 10_000) is None
    assert take(brake, [True] * 99) is None
    assert "in a row" in (take(brake, [True]) or "")
    assert take(brake, [False, True]) is None


def test_more_than_five_per_cent_of_a_minute_stop_the_consumer_and_the_minute_passes() -> None:
    clock = Clock()
    brake = Brake(clock=clock)
    few = ([True] + [False] * 9) * 9
    assert take(brake, few) is None  # 9 of 90: too few to judge a deployment by
    assert "within a minute" in (take(brake, ([True] + [False] * 9) * 95) or "")
    clock.now = 61
    assert take(brake, few) is None


def test_what_is_judged_again_and_again_is_counted_when_it_is_committed() -> None:
    brake = Brake(clock=Clock())
    for _ in range(10):
        assert brake.check([True] * 60) is None
    assert take(brake, [True] * 60) is None
    assert take(brake, [True] * 60) is not None


def test_after_an_operator_looked_nothing_stops_it_for_fifteen_minutes() -> None:
    clock = Clock()
    brake = Brake(clock=clock)
    brake.suspend()
    assert take(brake, [True] * 500) is None
    clock.now = 15 * 60 + 1
    assert take(brake, [False]) is None
    assert take(brake, [True] * 500) is not None


def state(watermark_ago: float | None, moved_ago: float | None, *, is_read: bool) -> PartitionState:
    def at(ago: float | None) -> datetime | None:
        return None if ago is None else NOW - timedelta(seconds=ago)

    return PartitionState(at(watermark_ago), at(moved_ago), is_read)


def test_the_slowest_partition_that_is_not_idle_holds_statements_back() -> None:
    busy_now, busy_behind, idle = state(5, 1, is_read=True), state(3600, 1, is_read=False), state(9000, 500, is_read=True)
    assert frontier_of([busy_now, busy_behind, idle], NOW) == NOW - timedelta(seconds=3600) - GRACE
    assert frontier_of([busy_now, idle], NOW) == NOW - timedelta(seconds=5) - GRACE


def test_when_events_stop_the_clock_carries_statements_on() -> None:
    assert frontier_of([state(9000, 500, is_read=True), state(None, None, is_read=True)], NOW) == NOW - GRACE


def test_a_partition_with_something_unread_is_not_idle_however_long_nobody_moved_it() -> None:
    waiting = state(9000, 500, is_read=False)
    assert frontier_of([waiting, state(5, 1, is_read=True)], NOW) == NOW - timedelta(seconds=9000) - GRACE
    assert frontier_of([state(None, None, is_read=False), state(5, 1, is_read=True)], NOW) is None


def test_event_time_ahead_of_the_clock_does_not_carry_statements_into_the_future() -> None:
    assert frontier_of([state(-200, 1, is_read=True)], NOW) == NOW - GRACE


@pytest.mark.parametrize("address", ["port", "socket"])
async def test_a_postgresql_that_is_not_there_is_waited_for(address: str, tmp_path: Path) -> None:
    host, port = ("127.0.0.1", free_port()) if address == "port" else (str(tmp_path), 5432)
    with pytest.raises(OSError) as away:
        await asyncpg.connect(host=host, port=port, user="u", database="d")
    assert classify(away.value) is Kind.WAIT


def test_the_three_kinds_of_failure_are_a_closed_list() -> None:
    wait = [
        ConnectionRefusedError(),
        TimeoutError(),
        BrokenPipeError(),
        socket.gaierror(-3, "Temporary failure in name resolution"),
        ssl.SSLCertVerificationError("not trusted"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 101] Network is unreachable"),
        kafka.KafkaConnectionError(),
        kafka.NotEnoughReplicasError(),
        kafka.KafkaTimeoutError(),
        kafka.OutOfOrderSequenceNumber(),
        kafka.TopicAuthorizationFailedError("a topic"),
        kafka.GroupAuthorizationFailedError("a group"),
        kafka.SaslAuthenticationFailed(),
        kafka.KafkaError("the client's own task was cancelled"),
        asyncpg.InvalidPasswordError(""),
        asyncpg.LockNotAvailableError(""),
        asyncpg.IdleInTransactionSessionTimeoutError(""),
        asyncpg.DeadlockDetectedError(""),
        asyncpg.SerializationError(""),
        asyncpg.TooManyConnectionsError(""),
        asyncpg.AdminShutdownError(""),
        asyncpg.CannotConnectNowError(""),
        asyncpg.ConnectionDoesNotExistError(""),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.InvalidCachedStatementError(""),
    ]
    reject = [asyncpg.UniqueViolationError(""), asyncpg.NumericValueOutOfRangeError(""), asyncpg.CharacterNotInRepertoireError("")]
    bug = [KeyError("x"), asyncpg.UndefinedColumnError(""), asyncpg.InsufficientPrivilegeError(""), ValueError()]
    bug += [
        OSError("of our own making"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EBADF, "Bad file descriptor"),
        kafka.MessageSizeTooLargeError(),
        kafka.InvalidTopicError(),
        kafka.IllegalStateError(),
        kafka.UnsupportedVersionError(),
    ]
    with pytest.raises(FileNotFoundError) as missing:
        Path("/a/file/that/is/not/there").read_bytes()
    bug.append(missing.value)
    for kind, errors in ((Kind.WAIT, wait), (Kind.REJECT, reject), (Kind.BUG, bug)):
        for error in errors:
            assert classify(error) is kind, error
