"""Use case: count a batch's events, each once, into buckets. All of it is one transaction, the consumer loop's."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge

from closedloop.common.postgres.pool import Connection
from closedloop.kpi import store
from closedloop.kpi.columnar.decode import TopicColumns, day_of
from closedloop.kpi.columnar.times import MINUTE as MICROS_A_MINUTE
from closedloop.kpi.domain.buckets import Bucketing, by_day, encode
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.columns import MINUTE
from closedloop.kpi.domain.seen import Hashes, Place, Seen, SeenCache, fresh_of, places_of

COUNTED = Counter("kpi_events_counted", "Events that were counted", ["topic"])
DUPLICATES = Counter("kpi_duplicates", "Events that had been counted before", ["topic"])
SEEN_BYTES = Gauge("kpi_seen_cache_bytes", "Memory that hashes of counted events take")


@dataclass
class Counted:
    """What a batch adds: it is worth nothing until its transaction is committed."""

    segments: list[store.Segment] = field(default_factory=list)
    runs: dict[Place, Hashes] = field(default_factory=dict)
    fresh: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)


class Counting:
    """Keeps the hashes of counted events at hand."""

    def __init__(self, catalogue: Catalogue, max_seen_bytes: int, dissatisfied_below: float) -> None:
        self._bucketing = {topic: Bucketing.of(catalogue, topic, dissatisfied_below) for topic in catalogue.topics}
        self._seen = SeenCache(max_seen_bytes)

    async def count(self, connection: Connection, batch: Sequence[TopicColumns]) -> Counted:
        """Write the batch's segments in the open transaction."""
        places = {place for columns in batch for place, _ in _places(columns)}
        seen = self._seen.take(places)
        missing = places - seen.keys()
        if missing:
            for place, runs in (await store.read_seen(connection, missing)).items():
                seen[place] = Seen(runs)
                self._seen.put(place, seen[place])
        # Polars and NumPy let go of the interpreter: meanwhile the next batch is fetched
        counted = await asyncio.to_thread(self._add_up, batch, seen)
        await store.insert(connection, counted.segments)
        return counted

    def committed(self, counted: Counted) -> None:
        """Now it holds."""
        self._seen.add(counted.runs)
        SEEN_BYTES.set(self._seen.nbytes)
        for topic, fresh in counted.fresh.items():
            COUNTED.labels(topic).inc(fresh)
            DUPLICATES.labels(topic).inc(counted.duplicates[topic])

    def reset(self) -> None:
        """Another member may have counted meanwhile."""
        self._seen.clear()

    def _add_up(self, batch: Sequence[TopicColumns], seen: Mapping[Place, Seen]) -> Counted:
        counted = Counted()
        for columns in batch:
            fresh = []
            for place, rows in _places(columns):
                firsts, run = fresh_of(columns.hashes[rows], seen[place])
                if run.size:
                    fresh.append(pl.Series(rows[firsts]))
                    counted.runs[place] = run
                    counted.segments.append(store.seen_segment(place, run))
            kept = pl.concat(fresh) if fresh else pl.Series(dtype=pl.Int64)
            minutes = pl.Series(MINUTE, columns.at // MICROS_A_MINUTE).cast(pl.Int32)
            frame = columns.frame.with_columns(minutes)[kept]
            counted.fresh[columns.topic] = len(frame)
            counted.duplicates[columns.topic] = len(columns.at) - len(frame)
            counted.segments += _bucket_segments(self._bucketing[columns.topic], frame)
        return counted


def _places(columns: TopicColumns) -> list[tuple[Place, NDArray[np.int64]]]:
    return list(places_of(columns.topic, columns.partitions, day_of(columns.at)))


def _bucket_segments(bucketing: Bucketing, frame: pl.DataFrame) -> list[store.Segment]:
    if frame.is_empty():
        return []
    events = {day: len(part) for day, part in by_day(frame.select(MINUTE).sort(MINUTE))}
    return [
        store.Segment("bucket", bucketing.topic, day, store.ALL_PARTITIONS, len(part), events[day], encode(part))
        for day, part in by_day(bucketing.fold(frame))
    ]
