"""A batch of records → per topic the columns that the catalogue needs, and the records that cannot be taken."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from threading import Lock
from typing import Final

import numpy as np
import polars as pl
from aiokafka import TopicPartition
from numpy.typing import NDArray

from closedloop.common.consumer.batch import Batch, Slice
from closedloop.common.consumer.failures import Rejection
from closedloop.common.events.rules import EARLIEST, MAX_AHEAD, MAX_EVENT_BYTES
from closedloop.common.events.topics import TOPIC_BY_NAME
from closedloop.common.kafka.source import Record
from closedloop.kpi.columnar.chunk import CHUNK, ChunkReader
from closedloop.kpi.columnar.closed import ClosedEvents
from closedloop.kpi.columnar.identity import Fingerprints, Hashes, fingerprints
from closedloop.kpi.columnar.judge import EPOCH, MICROSECOND, Judge
from closedloop.kpi.columnar.strictness import StrictnessProof
from closedloop.kpi.columnar.times import DAY

_EARLIEST: Final = (EARLIEST - EPOCH) // MICROSECOND
_AHEAD: Final = MAX_AHEAD // MICROSECOND
_SMALL: Final = 2000
"""A batch so small that a second thread would cost more than it saves."""


@dataclass(frozen=True)
class TopicColumns:
    """The accepted events of one topic, in record order. All columns have the same length."""

    topic: str
    frame: pl.DataFrame
    """The raw columns asked for (of `domain.columns.COLUMNS`)."""
    at: NDArray[np.int64]
    """Event time, microseconds since 1970."""
    hashes: Hashes
    """`event_hashes` of source and id."""
    fingerprints: Fingerprints
    """Of type, time and content: all columns that there are, not only those asked for."""
    partitions: NDArray[np.int32]


class ColumnarDecoder:
    """Decodes topics whose needed columns are given. `retention`: an event older than this at its append time is too late.

    Threads that decode at once take turns, topic by topic: what was learnt of a topic's values and keys is shared.
    """

    def __init__(self, needed: Mapping[str, frozenset[str]], retention: timedelta) -> None:
        self._retention = retention
        self._topics = {topic: _TopicDecoder(topic, columns) for topic, columns in needed.items()}
        self._second = ThreadPoolExecutor(1, thread_name_prefix="strictness")
        self._one_at_a_time = Lock()

    def decode(self, batch: Batch) -> tuple[list[TopicColumns], list[Rejection], dict[TopicPartition, datetime]]:
        """(columns per topic, rejections in record order, greatest accepted event time per partition)."""
        decoded: list[TopicColumns] = []
        rejections: list[Rejection] = []
        watermarks: dict[TopicPartition, datetime] = {}
        slices: dict[str, list[Slice]] = {}
        for part in batch.slices:
            slices.setdefault(part.partition.topic, []).append(part)
        for topic, parts in slices.items():
            with self._one_at_a_time, _without_garbage_collection():
                columns, rejected = self._topics[topic].decode(parts, self._second, self._retention)
            rejections += rejected
            decoded.append(columns)
            for part in parts:
                of_part = columns.at[columns.partitions == part.partition.partition]
                if of_part.size:
                    watermarks[part.partition] = EPOCH + timedelta(microseconds=int(of_part.max()))
        return decoded, rejections, watermarks


class _TopicDecoder:
    def __init__(self, topic: str, needed: frozenset[str]) -> None:
        self._topic = topic
        self._closed = ClosedEvents(TOPIC_BY_NAME[topic])
        self._chunks = ChunkReader(topic, needed, self._closed)
        self._proof = StrictnessProof(self._closed.keys, self._closed.required, self._chunks.optional)

    def decode(
        self, parts: Sequence[Slice], second: ThreadPoolExecutor, retention: timedelta
    ) -> tuple[TopicColumns, list[Rejection]]:
        sizes = [len(part.records) for part in parts]
        judge = Judge([record for part in parts for record in part.records])
        texts = plain_texts(judge.records)
        # Polars looks at the texts without the interpreter's lock while this thread decodes
        prepared = self._proof.prepare(texts)
        looking = second.submit(self._proof.look, prepared) if len(texts) > _SMALL else None
        chunks = [self._chunks.read(texts[at : at + CHUNK], at, judge) for at in range(0, len(texts), CHUNK)]
        looked = looking.result() if looking is not None else self._proof.look(prepared)
        unproved = self._proof.unproved(texts, looked, [chunk.evidence for chunk in chunks])
        rows = np.concatenate([chunk.rows for chunk in chunks])
        at = np.concatenate([chunk.at for chunk in chunks])
        appended = np.array([record.timestamp for record in judge.records], dtype=np.int64)[rows] * 1000
        doubtful = np.concatenate([chunk.doubtful for chunk in chunks]) | unproved[rows]
        doubtful |= (at < _EARLIEST) | (at > appended + _AHEAD)
        if judge.times:
            doubtful &= ~np.isin(rows, list(judge.times))
        for row in rows[doubtful].tolist():
            judge.event(row)
        for place in np.flatnonzero(np.isin(rows, list(judge.times))).tolist() if judge.times else ():
            at[place] = judge.times[int(rows[place])]
        late = at < appended - retention // MICROSECOND
        judge.refuse_late(rows[late].tolist(), retention)
        frame = self._chunks.frame([chunk.frame for chunk in chunks], at)
        hashes = np.concatenate([chunk.hashes for chunk in chunks])
        marks = fingerprints(np.concatenate([chunk.contents for chunk in chunks]), at)
        partitions = np.repeat(np.array([part.partition.partition for part in parts], dtype=np.int32), sizes)[rows]
        if judge.refused:
            kept = ~np.isin(rows, list(judge.refused))
            frame, at, partitions = frame.filter(pl.Series(kept)), at[kept], partitions[kept]
            hashes, marks = hashes[kept], marks[kept]
        columns = TopicColumns(self._topic, frame, at, hashes, marks, partitions)
        return columns, [judge.refused[row] for row in sorted(judge.refused)]


def plain_texts(records: Sequence[Record]) -> list[bytes]:
    """The texts to decode in columns; nothing in place of a record that only the common decoder understands."""
    texts = [record.value for record in records]
    if all(texts) and max(map(len, texts)) <= MAX_EVENT_BYTES and not any(map(attrgetter("headers"), records)):
        return texts
    return [_plain_text(record) for record in records]


def _plain_text(record: Record) -> bytes:
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
