"""Use case: count a batch's events, each once, into buckets. All of it is one transaction, the consumer loop's."""

import asyncio
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import polars as pl
import structlog
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge

from closedloop.common.postgres.pool import Connection
from closedloop.kpi import store
from closedloop.kpi.columnar.decode import TopicColumns, day_of
from closedloop.kpi.columnar.times import MINUTE as MICROS_A_MINUTE
from closedloop.kpi.domain.buckets import Bucketing, by_day, encode
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.columns import MINUTE
from closedloop.kpi.domain.seen import Place, Run, Seen, SeenCache, fresh_of, places_of

log = structlog.get_logger()
Placed: TypeAlias = list[tuple[Place, NDArray[np.int64]]]
"""Where events' duplicates would be → their rows."""

COUNTED = Counter("kpi_events_counted", "Events that were counted", ["topic"])
DUPLICATES = Counter(
    "kpi_duplicates", "Events that had been counted before, with the same content or another", ["topic", "content"]
)
SEEN_BYTES = Gauge("kpi_seen_cache_bytes", "Memory that hashes and fingerprints of counted events take")


@dataclass
class Counted:
    """What a batch adds: it is worth nothing until its transaction is committed."""

    segments: list[store.Segment] = field(default_factory=list)
    runs: dict[Place, Run] = field(default_factory=dict)
    fresh: Tally[str] = field(default_factory=Tally)
    """Per topic the events that were counted."""
    repeated: Tally[str] = field(default_factory=Tally)
    """Those that had been counted before, and say the same."""
    others: Tally[str] = field(default_factory=Tally)
    """Those whose id had been counted before, with another content."""


class Counting:
    """Keeps the hashes of counted events at hand."""

    def __init__(self, catalogue: Catalogue, max_seen_bytes: int, dissatisfied_below: float) -> None:
        self._bucketing = {topic: Bucketing.of(catalogue, topic, dissatisfied_below) for topic in catalogue.topics}
        self._seen = SeenCache(max_seen_bytes)
        for topic in catalogue.topics:
            for content in ("same", "other"):  # at 0 from the start: an increase from nothing is no increase to Prometheus
                DUPLICATES.labels(topic, content)

    async def count(self, connection: Connection, batch: Sequence[TopicColumns]) -> Counted:
        """Write the batch's segments in the open transaction."""
        placed = [(columns, _places(columns)) for columns in batch]
        places = {place for _, found in placed for place, _ in found}
        seen = self._seen.take(places)
        missing = places - seen.keys()
        if missing:
            for place, runs in (await store.read_seen(connection, missing)).items():
                seen[place] = Seen(runs)
                self._seen.put(place, seen[place])
        # Polars and NumPy let go of the interpreter: meanwhile the next batch is fetched
        counted = await asyncio.to_thread(self._add_up, placed, seen)
        await store.insert(connection, counted.segments)
        return counted

    def committed(self, counted: Counted) -> None:
        """Now it holds."""
        self._seen.add(counted.runs)
        SEEN_BYTES.set(self._seen.nbytes)
        for topic, events in counted.fresh.items():
            COUNTED.labels(topic).inc(events)
            DUPLICATES.labels(topic, "same").inc(counted.repeated[topic])
            DUPLICATES.labels(topic, "other").inc(counted.others[topic])
        if counted.others.total():
            log.warning("ids came again with other content; the first counts", events=dict(+counted.others))

    def reset(self) -> None:
        """Another member may have counted meanwhile."""
        self._seen.clear()

    def _add_up(self, placed: Sequence[tuple[TopicColumns, Placed]], seen: Mapping[Place, Seen]) -> Counted:
        counted = Counted()
        for columns, places in placed:
            topic = columns.topic
            kept = []
            for place, rows in places:
                fresh = fresh_of(columns.hashes[rows], columns.fingerprints[rows], seen[place])
                counted.others[topic] += fresh.others
                if fresh.rows.size:
                    kept.append(pl.Series(rows[fresh.rows]))
                    counted.runs[place] = fresh.run
                    counted.segments.append(store.seen_segment(place, fresh.run))
            minutes = pl.Series(MINUTE, columns.at // MICROS_A_MINUTE).cast(pl.Int32)
            frame = columns.frame.with_columns(minutes)[pl.concat(kept) if kept else pl.Series(dtype=pl.Int64)]
            counted.fresh[topic] = len(frame)
            counted.repeated[topic] = len(columns.at) - len(frame) - counted.others[topic]
            counted.segments += _bucket_segments(self._bucketing[topic], frame)
        return counted


def _places(columns: TopicColumns) -> Placed:
    return list(places_of(columns.topic, columns.partitions, day_of(columns.at)))


def _bucket_segments(bucketing: Bucketing, frame: pl.DataFrame) -> list[store.Segment]:
    if frame.is_empty():
        return []
    events = {day: len(part) for day, part in by_day(frame.select(MINUTE).sort(MINUTE))}
    return [
        store.Segment("bucket", bucketing.topic, day, store.ALL_PARTITIONS, len(part), events[day], encode(part))
        for day, part in by_day(bucketing.fold(frame))
    ]
