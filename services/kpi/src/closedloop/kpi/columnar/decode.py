"""A batch of records → per topic the columns that the catalogue needs, and the records that cannot be taken."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
import xxhash
from aiokafka import TopicPartition
from numpy.typing import NDArray

from closedloop.common.consumer.batch import Batch, Slice
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.rows import receive, rejection_of
from closedloop.common.events.model import Event
from closedloop.common.events.rules import EARLIEST, MAX_AHEAD, MAX_EVENT_BYTES, Refused
from closedloop.common.events.topics import TOPIC_BY_NAME, data_type
from closedloop.common.kafka.source import Record
from closedloop.kpi.columnar import rules
from closedloop.kpi.columnar.closed import ClosedEvents
from closedloop.kpi.columnar.strictness import StrictnessProof, with_long_strings
from closedloop.kpi.columnar.times import DAY, parse_times
from closedloop.kpi.domain.columns import AT, COLUMNS, TYPE

_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST: Final = (EARLIEST - _EPOCH) // _MICROSECOND
_AHEAD: Final = MAX_AHEAD // _MICROSECOND
_SMALL: Final = 2000
"""A batch so small that a second thread would cost more than it saves."""
_STEP: Final = 2048


@dataclass(frozen=True)
class TopicColumns:
    """The accepted events of one topic, in record order. All columns have the same length."""

    topic: str
    frame: pl.DataFrame
    """The raw columns asked for (of `domain.columns.COLUMNS`)."""
    at: NDArray[np.int64]
    """Event time, microseconds since 1970."""
    hashes: NDArray[np.uint64]
    """`event_hashes` of source and id."""
    partitions: NDArray[np.int32]


class ColumnarDecoder:
    """Decodes topics whose needed columns are given. `retention`: an event older than this at its append time is too late."""

    def __init__(self, needed: Mapping[str, frozenset[str]], retention: timedelta) -> None:
        self._retention = retention
        self._topics = {topic: _TopicDecoder(topic, columns) for topic, columns in needed.items()}
        self._second = ThreadPoolExecutor(1, thread_name_prefix="strictness")

    def decode(self, batch: Batch) -> tuple[list[TopicColumns], list[Rejection], dict[TopicPartition, datetime]]:
        """(columns per topic, rejections in record order, greatest accepted event time per partition)."""
        decoded: list[TopicColumns] = []
        rejections: list[Rejection] = []
        watermarks: dict[TopicPartition, datetime] = {}
        slices: dict[str, list[Slice]] = {}
        for part in batch.slices:
            slices.setdefault(part.partition.topic, []).append(part)
        for topic, parts in slices.items():
            with _without_garbage_collection():
                columns, rejected = self._topics[topic].decode(parts, self._second, self._retention)
            rejections += rejected
            decoded.append(columns)
            for part in parts:
                of_part = columns.at[columns.partitions == part.partition.partition]
                if of_part.size:
                    watermarks[part.partition] = _EPOCH + timedelta(microseconds=int(of_part.max()))
        return decoded, rejections, watermarks


class _TopicDecoder:
    def __init__(self, topic: str, needed: frozenset[str]) -> None:
        self._topic = topic
        self._needed = sorted(needed)
        self._closed = ClosedEvents(TOPIC_BY_NAME[topic])
        self._proof = StrictnessProof(self._closed.keys, self._closed.required)

    def decode(
        self, parts: Sequence[Slice], second: ThreadPoolExecutor, retention: timedelta
    ) -> tuple[TopicColumns, list[Rejection]]:
        sizes = [len(part.records) for part in parts]
        judge = _Judge([record for part in parts for record in part.records])
        partitions = np.repeat(np.array([part.partition.partition for part in parts], dtype=np.int32), sizes)
        appended = np.array([record.timestamp for record in judge.records], dtype=np.int64) * 1000
        plain = list(map(_fast_value, judge.records))
        events, unproved = self._events(plain, second)
        for row in np.flatnonzero(unproved).tolist():
            events[row] = judge.judge(row)
        rows = np.arange(len(events))
        if judge.refused:
            rows = np.delete(rows, list(judge.refused))
            events = [events[row] for row in rows.tolist()]
        groups = self._by_class(events)
        at, doubtful = _times(events, appended[rows])
        for group in groups:
            doubtful[group.rows] |= rules.doubtful(data_type(group.cls), group.column, len(group.data))
        doubtful &= ~unproved[rows]
        for row in rows[doubtful].tolist():
            judge.judge(row)
        for place, row in enumerate(rows.tolist()) if judge.times else ():
            if row in judge.times:
                at[place] = judge.times[row]
        late = at < appended[rows] - retention // _MICROSECOND
        judge.refuse_late(rows[late].tolist(), retention)
        kept = np.ones(len(rows), dtype=np.bool_)
        if judge.refused:
            kept = ~np.isin(rows, list(judge.refused))
        frame = self._frame(groups, at).filter(pl.Series(kept)) if not kept.all() else self._frame(groups, at)
        columns = TopicColumns(self._topic, frame, at[kept], event_hashes(events)[kept], partitions[rows[kept]])
        return columns, [judge.refused[row] for row in sorted(judge.refused)]

    def _events(self, plain: list[bytes], second: ThreadPoolExecutor) -> tuple[list[Any], NDArray[np.bool_]]:
        """(events, unproved); the event of an unproved text means nothing."""
        prepared = self._proof.prepare(plain)
        # Polars proves without the interpreter's lock while this thread decodes; that pauses now and then, to let it begin
        proving = second.submit(self._proof.unproved, prepared) if len(plain) > _SMALL else None
        events: list[Any] = []
        failed: list[int] = []
        decode = self._closed.decode
        for start in range(0, len(plain), _STEP):
            remaining = iter(plain[start : start + _STEP])
            while True:
                try:
                    events.extend(map(decode, remaining))
                    break
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    failed.append(len(events))
                    events.append(None)
        long = with_long_strings(plain)
        unproved = proving.result() if proving is not None else self._proof.unproved(prepared)
        unproved |= long
        unproved[failed] = True
        return events, unproved

    def _by_class(self, events: Sequence[Any]) -> list["_OfOneClass"]:
        if len(self._closed.model) == 2 and events:  # one type, closed and common
            return [_OfOneClass(next(iter(self._closed.model.values())), slice(None), events)]
        rows: dict[type[Any], list[int]] = {}
        for row, kind in enumerate(map(type, events)):
            rows.setdefault(self._closed.model[kind], []).append(row)
        return [_OfOneClass(cls, np.array(of, dtype=np.int64), [events[row] for row in of]) for cls, of in rows.items()]

    def _frame(self, groups: Sequence["_OfOneClass"], at: NDArray[np.int64]) -> pl.DataFrame:
        dtypes = {name: COLUMNS[self._topic][name] for name in self._needed}
        if len(groups) == 1:
            return pl.DataFrame({name: groups[0].series(name, dtype, at) for name, dtype in dtypes.items()})
        frame = pl.concat(
            [pl.DataFrame({name: of.series(name, dtype, at) for name, dtype in dtypes.items()}) for of in groups]
            or [pl.DataFrame(schema=dtypes)]
        )
        order = np.concatenate([of.rows for of in groups]) if groups else np.zeros(0, dtype=np.int64)
        return frame[np.argsort(order)]


class _OfOneClass:
    """Events of one type; a field's values are read once, for the rules and for the frame."""

    def __init__(self, cls: type[Event], rows: Any, events: Sequence[Any]) -> None:
        self.cls = cls
        self.rows = rows
        self.data = [event.data for event in events]
        self._columns: dict[str, list[Any]] = {}

    def column(self, name: str) -> list[Any]:
        """A data field's values."""
        if name not in self._columns:
            self._columns[name] = list(map(attrgetter(name), self.data))
        return self._columns[name]

    def series(self, name: str, dtype: pl.DataType, at: NDArray[np.int64]) -> pl.Series:
        """A column of the frame; nulls where this type has no such field."""
        if name == AT:
            return pl.Series(name, at[self.rows]).cast(dtype)
        if name == TYPE:
            return pl.repeat(str(self.cls.__struct_config__.tag), len(self.data), dtype=dtype, eager=True).alias(name)
        if name not in data_type(self.cls).__struct_fields__:
            return pl.repeat(None, len(self.data), dtype=dtype, eager=True).alias(name)
        values = self.column(name)
        if name == "level":  # the one field that may be text or a number stands as text
            values = [value if value is None else str(value) for value in values]
        return pl.Series(name, values, dtype=dtype, strict=True)


class _Judge:
    """The common decoder's and rules' word on single records: event and time, or a refusal. Rows count from 0."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.refused: dict[int, Rejection] = {}
        self.times: dict[int, int] = {}

    def judge(self, row: int) -> Any:
        """The record's event, or None where it is refused."""
        try:
            received = receive(self.records[row])
        except Refused as refused:
            self.refused[row] = rejection_of(self.records[row], refused)
            return None
        self.times[row] = (received.at - _EPOCH) // _MICROSECOND
        return received.event

    def refuse_late(self, rows: Sequence[int], retention: timedelta) -> None:
        """These are older than what is kept; unless there is a worse reason already."""
        message = f"time: is more than {retention.days} days before the time of receipt; such days are no longer kept"
        for row in rows:
            self.refused.setdefault(row, Rejection(self.records[row], "late", "time", message))


def _times(events: Sequence[Any], appended: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(event times, not shown to keep the rules of time)."""
    at, proved = parse_times([event.time for event in events])
    return at, ~proved | (at < _EARLIEST) | (at > appended + _AHEAD)


def event_hashes(events: Sequence[Any]) -> NDArray[np.uint64]:
    """64 bits of (source, id) each: XXH3 of the id, seeded with XXH3 of the source. Stored, so it must never change."""
    digest = xxhash.xxh3_64_intdigest
    ids = map(str.encode, map(attrgetter("id"), events))
    sources = list(map(attrgetter("source"), events))
    seeds = {source: digest(source.encode()) for source in set(sources)}
    seeding: Any = repeat(next(iter(seeds.values()))) if len(seeds) == 1 else map(seeds.__getitem__, sources)
    return np.fromiter(map(digest, ids, seeding), dtype=np.uint64, count=len(events))


def _fast_value(record: Record) -> bytes:
    """The text to decode in columns; nothing for a record that only the common decoder understands."""
    value: bytes | None = record.value
    if value is None or len(value) > MAX_EVENT_BYTES:
        return b""
    if record.headers and any(key == "ce_specversion" for key, _ in record.headers):
        return b""
    return value


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A batch makes hundreds of thousands of objects and no cycles: collecting in between would only cost."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def day_of(at: NDArray[np.int64]) -> NDArray[np.int32]:
    """Days since 1970 in UTC."""
    return (at // DAY).astype(np.int32)
