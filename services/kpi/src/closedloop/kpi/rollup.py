"""Rolls up what was counted: minutes into hours per UTC day, and hours into the operator's days per span of days.

Each step is a transaction of its own that writes the coarser segment and marks what went into it. So a reader's snapshot adds
roll-ups and what is not in them yet, and has each event once, however late it came.
"""

import asyncio
from typing import Final

from prometheus_client import Counter

from closedloop.common.postgres.pool import Pool
from closedloop.kpi import store
from closedloop.kpi.domain.buckets import decode, encode, rolled_up
from closedloop.kpi.domain.cover import Calendar

MOST_AT_ONCE: Final = 16
"""Segments in one transaction: about a million buckets at most."""

ROLLED = Counter("kpi_segments_rolled_up", "Segments whose content was rolled up", ["kind"])


class RollUp:
    """Any number of processes may run it."""

    def __init__(self, pool: Pool, calendar: Calendar) -> None:
        self._pool = pool
        self._calendar = calendar

    async def roll_up(self) -> None:
        """Roll up all days that have ended."""
        async with self._pool.acquire() as connection, connection.transaction():
            await store.take_zone(connection, self._calendar.name)
        await self._roll("bucket", "hour", 1)
        await self._roll("hour", "day", store.SPAN_DAYS)

    async def _roll(self, kind: store.Kind, into: store.Kind, span: int) -> None:
        async with self._pool.acquire() as connection:
            places = await store.read_unrolled(connection, kind, span)
        for topic, first in places:
            while await self._step(kind, into, topic, first, span) == MOST_AT_ONCE:
                pass

    async def _step(self, kind: store.Kind, into: store.Kind, topic: str, first: int, span: int) -> int:
        """How many segments were rolled up."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not await store.keeps_zone(connection, self._calendar.name):
                return 0  # a process of another zone took over meanwhile
            taken = await store.mark_unrolled(connection, kind, topic, first, span, MOST_AT_ONCE)
            if taken:
                await store.insert(connection, [await asyncio.to_thread(self._rolled, taken, into, topic, first)])
        ROLLED.labels(kind).inc(len(taken))
        return len(taken)

    def _rolled(self, taken: list[store.Stored], into: store.Kind, topic: str, first: int) -> store.Segment:
        beginnings = self._calendar.hour_of if into == "hour" else self._calendar.day_of
        buckets = rolled_up((decode(row.data) for row in taken), beginnings)
        events = sum(row.events for row in taken)
        return store.Segment(into, topic, first, store.ALL_PARTITIONS, len(buckets), events, encode(buckets))
