"""Keeps segments few: merges those of one kind, place and level into one of the next, and drops days beyond the retention.

Each merge is a transaction of its own that replaces rows by their sum, so a reader's snapshot holds either them or it.
"""

import asyncio
from datetime import timedelta
from itertools import chain
from typing import Final

from prometheus_client import Counter, Gauge

from closedloop.common.events.topics import EVALUATIONS
from closedloop.common.postgres.pool import Pool
from closedloop.kpi import store
from closedloop.kpi.domain import seen
from closedloop.kpi.domain.buckets import decode, encode, merged

FANOUT: Final = 8
"""So many segments of one level become one of the next: a hash or bucket is written about log8(segments) times."""
MOST_AT_ONCE: Final = 16
LARGEST_ROWS: Final[dict[store.Kind, int]] = {"bucket": 60_000, "hour": 60_000, "day": 60_000, "seen": 2_000_000}
"""Larger segments stay as they are, so that a merge takes little memory: a million buckets, or 32 million hashes, at most."""
MARGIN: Final = timedelta(milliseconds=EVALUATIONS.retention_ms) + timedelta(days=1)
"""A day goes only when nothing of it can be replayed any more: its hashes must outlive the topic's records."""

MERGED = Counter("kpi_segments_merged", "Segments that compaction replaced", ["kind"])
SEGMENTS = Gauge("kpi_segments", "Segments stored", ["kind"])
SEGMENT_BYTES = Gauge("kpi_segment_bytes", "Bytes stored in segments", ["kind"])


class Compaction:
    """Any number of processes may run it."""

    def __init__(self, pool: Pool, retention: timedelta) -> None:
        self._pool = pool
        self._kept = retention + MARGIN

    async def compact(self) -> None:
        """Merge until no place has enough segments of one level."""
        while True:
            async with self._pool.acquire() as connection:
                crowded = [await store.read_crowded(connection, kind, FANOUT, most) for kind, most in LARGEST_ROWS.items()]
            merged_any = False
            for group in chain.from_iterable(crowded):
                merged_any |= await self._merge(group)
            if not merged_any:
                return

    async def forget(self) -> None:
        """Drop the days that are not kept any more, and tell what is stored."""
        async with self._pool.acquire() as connection:
            await store.drop_days(connection, self._kept)
            for kind, count, nbytes in await store.read_sizes(connection):
                SEGMENTS.labels(kind).set(count)
                SEGMENT_BYTES.labels(kind).set(nbytes)

    async def _merge(self, group: store.Group) -> bool:
        """False where another process is at it."""
        async with self._pool.acquire() as connection, connection.transaction():
            crowd = await store.lock_crowd(connection, group, LARGEST_ROWS[group.kind], MOST_AT_ONCE)
            if len(crowd) < FANOUT:
                return False
            result = await asyncio.to_thread(_merged, group, crowd)
            await store.insert(connection, [result])
            await store.delete(connection, [row.id for row in crowd])
        MERGED.labels(group.kind).inc(len(crowd))
        return True


def _merged(group: store.Group, crowd: list[store.Stored]) -> store.Segment:
    level = group.level + 1
    if group.kind == "seen":
        run = seen.merged(store.run_of(row.data) for row in crowd)
        return store.seen_segment(seen.Place(group.topic, group.partition, group.day), run, level)
    buckets = merged(decode(row.data) for row in crowd)
    events = sum(row.events for row in crowd)
    data = encode(buckets)
    return store.Segment(group.kind, group.topic, group.day, group.partition, len(buckets), events, data, level, group.rolled)
