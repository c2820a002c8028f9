"""Reads a topic's retained events again and counts them for some indicators, in memory: what formulas that nobody counted would
have been. Nothing is written, no position moves."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord, OffsetAndTimestamp

from closedloop.common.consumer.batch import Batch, Slice
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.source import stop_consumer
from closedloop.kpi.columnar.decode import ColumnarDecoder, TopicColumns, day_of
from closedloop.kpi.columnar.times import MINUTE as MICROS_A_MINUTE
from closedloop.kpi.domain.buckets import CELL, Bucketing, added_up, merged, needed_columns
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.columns import MINUTE
from closedloop.kpi.domain.measures import Measure
from closedloop.kpi.domain.rolling import figures_over_windows
from closedloop.kpi.domain.seen import Place, Seen, fresh_of, places_of

MOST_EVENTS: Final = 1_000_000
"""So many records are read at most: about half a minute."""
AT_ONCE: Final = 20_000
PATIENCE_S: Final = 10.0
"""A broker that says nothing for so long has not answered."""


@dataclass(frozen=True)
class Replayed:
    """Minute buckets of event time [since, end). `is_whole` is false where there were more than MOST_EVENTS records, or where the
    topic has let go of some: `kept_from` is when the oldest that it still has was appended."""

    since: datetime
    buckets: pl.DataFrame
    records: int
    is_whole: bool
    kept_from: datetime | None

    async def totals(self, indicator: EventIndicator, group_by: Sequence[str], from_minute: int, to_minute: int) -> pl.DataFrame:
        """As `BucketReader.totals`, and only for indicators that are sums, too."""
        inside = self.buckets.filter(pl.col(MINUTE).is_between(from_minute, to_minute, closed="left"))
        sums = inside.select(*group_by, MINUTE, **{name: pl.col(part.name) for name, part in indicator.parts.items()})
        return added_up([sums], group_by).filter(pl.col("sample") != 0).select(sums.columns)

    async def figures(
        self, parts: Mapping[str, Measure], windows: Sequence[tuple[int, int]], group_by: Sequence[str]
    ) -> pl.DataFrame:
        """As `BucketReader.figures`, without filters."""
        return await asyncio.to_thread(figures_over_windows, [self.buckets], group_by, windows, parts)


async def replay(
    kafka: KafkaSettings,
    topic: str,
    indicators: Sequence[EventIndicator],
    lead: datetime,
    start: datetime,
    end: datetime,
    retention: timedelta,
    dissatisfied_below: float,
) -> Replayed:
    """Count the topic's retained records of event time [start, end) for its `indicators`; and those from `lead` on, where all
    that would be read then is no more than MOST_EVENTS. Raises KafkaError, TimeoutError."""
    catalogue = Catalogue([dataclasses.replace(indicator, parent=None) for indicator in indicators])  # which are not there
    decoder = ColumnarDecoder({topic: needed_columns(catalogue, topic)}, retention)
    consumer = AIOKafkaConsumer(**kafka.client_options(), enable_auto_commit=False, isolation_level="read_committed")
    try:
        async with asyncio.timeout(PATIENCE_S):
            await consumer.start()
            partitions = [TopicPartition(topic, number) for number in sorted(await _partitions(consumer, topic))]
            consumer.assign(partitions)
            beginnings, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            for since in (lead, start):
                appended = _appended(since)
                found = await consumer.offsets_for_times(dict.fromkeys(partitions, appended))
                if sum(ends[tp] - first.offset for tp, first in found.items() if first is not None) <= MOST_EVENTS:
                    break
        kept_from = oldest_kept(found, beginnings, appended)
        counting = _Counting(Bucketing.of(catalogue, topic, dissatisfied_below), since, end)
        left = {tp: ends[tp] for tp in partitions if found[tp] is not None and found[tp].offset < ends[tp]}
        for tp in partitions:
            consumer.seek(tp, found[tp].offset if tp in left else ends[tp])
        records = 0
        while left and records < MOST_EVENTS:
            polled = await consumer.getmany(*left, timeout_ms=int(PATIENCE_S * 1000), max_records=AT_ONCE)
            if not polled:
                # marks of transactions at the end of a partition are no records
                left = {tp: last for tp, last in left.items() if await consumer.position(tp) < last}
                if left:
                    raise TimeoutError
                break
            records += sum(map(len, polled.values()))
            await asyncio.to_thread(counting.take, decoder, polled)
            left = {tp: last for tp, last in left.items() if await consumer.position(tp) < last}
        return Replayed(since, counting.buckets(), records, not left and kept_from is None, kept_from)
    finally:
        await stop_consumer(consumer)


def _appended(at: datetime) -> int:
    """Since when (ms since 1970) what happened at a time or later was appended: after it happened, or five minutes before at
    most."""
    return int((at - timedelta(minutes=5)).timestamp() * 1000)


def oldest_kept(
    found: Mapping[TopicPartition, OffsetAndTimestamp | None], beginnings: Mapping[TopicPartition, int], since: int
) -> datetime | None:
    """When the first records that a topic still has were appended, where it has let go of some after `since` (ms since 1970).

    `found`: each partition's first record since then; `beginnings`: where each begins now, which is 0 until something goes.
    """
    cut = [
        first.timestamp
        for tp, first in found.items()
        if first is not None and first.offset == beginnings[tp] > 0 and first.timestamp > since
    ]
    return datetime.fromtimestamp(max(cut) / 1000, UTC) if cut else None


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.force_metadata_update()
    await consumer._client._wait_on_metadata(topic)
    return set(consumer.partitions_for_topic(topic) or ())


class _Counting:
    """What `Counting` does with batches, in memory and for one topic."""

    def __init__(self, bucketing: Bucketing, start: datetime, end: datetime) -> None:
        self._bucketing = bucketing
        self._start, self._end = int(start.timestamp() * 1_000_000), int(end.timestamp() * 1_000_000)
        self._seen: dict[Place, Seen] = {}
        self._folded: list[pl.DataFrame] = []

    def take(self, decoder: ColumnarDecoder, polled: dict[TopicPartition, list[ConsumerRecord]]) -> None:
        slices = tuple(Slice(tp, records[0].offset, records) for tp, records in sorted(polled.items()) if records)
        for columns in decoder.decode(Batch(slices))[0]:
            self._folded.append(self._bucketing.fold(self._fresh(columns)))

    def buckets(self) -> pl.DataFrame:
        return merged([self._nothing(), *self._folded])

    def _fresh(self, columns: TopicColumns) -> pl.DataFrame:
        kept = [pl.Series(dtype=pl.Int64)]
        for place, rows in places_of(columns.topic, columns.partitions, day_of(columns.at)):
            seen = self._seen.setdefault(place, Seen())
            fresh = fresh_of(columns.hashes[rows], columns.fingerprints[rows], seen)
            if fresh.rows.size:
                seen.add(fresh.run)
                kept.append(pl.Series(rows[fresh.rows]))
        minutes = pl.Series(MINUTE, columns.at // MICROS_A_MINUTE).cast(pl.Int32)
        inside = pl.Series((columns.at >= self._start) & (columns.at < self._end))
        counted = pl.concat(kept)
        return columns.frame.with_columns(minutes)[counted].filter(inside[counted])

    def _nothing(self) -> pl.DataFrame:
        schema: dict[str, type[pl.DataType]] = {
            MINUTE: pl.Int32,
            **dict.fromkeys(self._bucketing.dimensions, pl.String),
            CELL: pl.Int16,
        }
        return pl.DataFrame(schema=schema | {measure.name: pl.Float64 for measure in self._bucketing.measures})
