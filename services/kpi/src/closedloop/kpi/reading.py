"""Reads buckets: segments from the store, added up to what was asked, kept while memory allows.

Segments never change, so what was made of one under its id stays right; a new batch or a compaction brings new ids.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import polars as pl

from closedloop.common.postgres.pool import Pool
from closedloop.kpi import store
from closedloop.kpi.domain.buckets import MINUTES_A_DAY, added_up, decode
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.columns import MINUTE

HOUR: Final = 60
DAYS_AT_ONCE: Final = 8
"""So many days are fetched from the store in one piece."""


class Shape(NamedTuple):
    """What is kept of a segment: its sums per `grain` minutes and these dimensions."""

    dimensions: tuple[str, ...]
    grain: int


class BucketReader:
    """Sums over minutes and dimensions, for values, series, gauges and statements."""

    def __init__(self, pool: Pool, catalogue: Catalogue, max_bytes: int) -> None:
        self._pool = pool
        self._measures = {topic: [measure.name for measure in catalogue.measures(topic)] for topic in catalogue.topics}
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[int, Shape], pl.DataFrame] = OrderedDict()
        self._ids: dict[tuple[str, int], set[int]] = {}  # topic and day → the segments of which something is kept
        self._nbytes = 0

    async def contents(self, topic: str) -> Mapping[int, str]:
        """UTC day since 1970 → a text that changes whenever the day's buckets do, for each day that has any."""
        async with self._pool.acquire() as connection:
            return {day: str(events) for day, events in (await store.read_days(connection, topic)).items()}

    async def totals(self, indicator: EventIndicator, group_by: Sequence[str], from_minute: int, to_minute: int) -> pl.DataFrame:
        """One row per group and minute in [from, to) that has events: the dimensions of `group_by`, `minute` (since 1970),
        `numerator`, `denominator` (absent for counts and sums) and `sample`. Groups where nothing counted are left out."""
        frame = await self.sums(indicator.topic, tuple(group_by), from_minute, to_minute)
        return quantities(frame, indicator, (*group_by, MINUTE)).filter(pl.col("sample") != 0)

    async def sums(self, topic: str, dimensions: tuple[str, ...], from_minute: int, to_minute: int, grain: int = 1) -> pl.DataFrame:
        """The topic's measures per dimensions and `minute` in [from, to); with a grain, `minute` begins each, and the ends must
        be whole ones."""
        shape = Shape(dimensions, grain)
        parts = []
        first, last = from_minute // MINUTES_A_DAY, (to_minute - 1) // MINUTES_A_DAY
        for day in range(first, last + 1, DAYS_AT_ONCE):
            for frame in await self._segments(topic, shape, day, min(day + DAYS_AT_ONCE - 1, last)):
                minutes = frame[MINUTE]
                start = minutes.search_sorted(from_minute, "left")
                parts.append(frame.slice(start, minutes.search_sorted(to_minute, "left") - start))
        if not parts:
            return self._nothing(topic, dimensions)
        return await asyncio.to_thread(added_up, [self._nothing(topic, dimensions), *parts], dimensions)

    async def total(self, topic: str, dimensions: tuple[str, ...], from_minute: int, to_minute: int) -> pl.DataFrame:
        """The topic's measures per dimensions over [from, to), the whole hours in it from hours."""
        first_hour, last_hour = -(-from_minute // HOUR) * HOUR, to_minute // HOUR * HOUR
        if last_hour - first_hour < HOUR:
            parts = [await self.sums(topic, dimensions, from_minute, to_minute)]
        else:
            parts = [await self.sums(topic, dimensions, first_hour, last_hour, HOUR)]
            if from_minute < first_hour:
                parts.append(await self.sums(topic, dimensions, from_minute, first_hour))
            if last_hour < to_minute:
                parts.append(await self.sums(topic, dimensions, last_hour, to_minute))
        together = pl.concat(parts)
        sums = pl.col(self._measures[topic]).sum()
        return together.group_by(dimensions).agg(sums) if dimensions else together.select(sums)

    async def _segments(self, topic: str, shape: Shape, first_day: int, last_day: int) -> list[pl.DataFrame]:
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            ids = await store.read_bucket_ids(connection, topic, first_day, last_day)
            self._drop_merged(topic, ids, first_day, last_day)
            found = {id_: self._kept[id_, shape] for id_ in ids if (id_, shape) in self._kept}
            missing = await store.read_data(connection, [id_ for id_ in ids if id_ not in found])
        for id_ in found:
            self._kept.move_to_end((id_, shape))
        if missing:
            made = await asyncio.to_thread(self._shaped, topic, shape, missing)
            found |= made
            for id_ in made:
                self._ids.setdefault((topic, ids[id_]), set()).add(id_)
            self._keep(shape, made)
        return list(found.values())

    def _shaped(self, topic: str, shape: Shape, data: Mapping[int, bytes]) -> dict[int, pl.DataFrame]:
        columns = [MINUTE, *shape.dimensions, *self._measures[topic]]
        return {id_: self._shape(decode(raw, columns), topic, shape) for id_, raw in data.items()}

    def _shape(self, segment: pl.DataFrame, topic: str, shape: Shape) -> pl.DataFrame:
        known = pl.concat([self._nothing(topic, shape.dimensions), segment], how="diagonal")
        if shape.grain > 1:
            known = known.with_columns(pl.col(MINUTE) // shape.grain * shape.grain)
        return added_up([known], shape.dimensions)

    def _nothing(self, topic: str, dimensions: Sequence[str]) -> pl.DataFrame:
        schema: dict[str, type[pl.DataType]] = {MINUTE: pl.Int32, **dict.fromkeys(dimensions, pl.String)}
        return pl.DataFrame(schema=schema | dict.fromkeys(self._measures[topic], pl.Float64))

    def _drop_merged(self, topic: str, ids: Mapping[int, int], first_day: int, last_day: int) -> None:
        """Forget segments that compaction has replaced."""
        gone = {id_ for day in range(first_day, last_day + 1) for id_ in self._ids.get((topic, day), ()) if id_ not in ids}
        if gone:
            for key in [key for key in self._kept if key[0] in gone]:
                self._nbytes -= _nbytes(self._kept.pop(key))
            for day in range(first_day, last_day + 1):
                self._ids.get((topic, day), set()).difference_update(gone)

    def _keep(self, shape: Shape, made: Mapping[int, pl.DataFrame]) -> None:
        for id_, frame in made.items():
            if (id_, shape) not in self._kept:
                self._kept[id_, shape] = frame
                self._nbytes += _nbytes(frame)
        while self._nbytes > self._max_bytes and self._kept:
            _, dropped = self._kept.popitem(last=False)
            self._nbytes -= _nbytes(dropped)


def quantities(sums: pl.DataFrame, indicator: EventIndicator, keys: Sequence[str]) -> pl.DataFrame:
    """The indicator's numerator, denominator (absent for counts and sums) and sample from the measures' sums."""
    wanted = {"numerator": indicator.numerator_measure, "denominator": indicator.denominator_measure}
    named = {name: measure.name for name, measure in wanted.items() if measure is not None}
    named["sample"] = indicator.sample_measure.name
    return sums.select(*keys, **{name: pl.col(measure) for name, measure in named.items()})


def _nbytes(frame: pl.DataFrame) -> int:
    # a column has its own price, which dominates in small frames
    return int(frame.estimated_size()) + 400 * frame.width
