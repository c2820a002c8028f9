"""Reads buckets: the fewest segments that hold what was asked, what was made of them kept while memory allows.

Segments never change, so what was made of one under its id stays right; a new batch, a compaction or a roll-up brings new ids.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from closedloop.common.postgres.pool import Connection, Pool
from closedloop.kpi import store
from closedloop.kpi.blocks import Block, Cache, SeriesBook, Shape, find, gathered, shaped
from closedloop.kpi.domain.buckets import MINUTES_A_DAY, added_up
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.columns import MINUTE
from closedloop.kpi.domain.cover import Calendar, Cover, Minutes, by_minutes, cover
from closedloop.kpi.domain.measures import Measure
from closedloop.kpi.domain.rolling import figures_over_windows
from closedloop.kpi.domain.windows import TooManyPoints
from closedloop.kpi.value import Filters

SEGMENTS_AT_ONCE: Final = 32
"""So many segments are fetched from the store in one piece."""
_UTC: Final = ZoneInfo("UTC")
Windows = Sequence[tuple[int, int]]


class BucketReader:
    """Buckets over minutes and dimensions, for values, series, gauges and statements. `zone`: the operator's; roll-ups that were
    cut by another are not used."""

    def __init__(self, pool: Pool, catalogue: Catalogue, max_bytes: int, zone: ZoneInfo = _UTC) -> None:
        self._pool = pool
        self._calendar = Calendar(zone)
        self._watched = {
            topic: _measures([indicator for indicator in catalogue.on(topic) if indicator.threshold or indicator.control])
            for topic in catalogue.topics
        }
        self.cache: Final = Cache(max_bytes)
        self._books: dict[tuple[str, tuple[str, ...]], SeriesBook] = {}

    async def contents(self, topic: str) -> Mapping[int, str]:
        """UTC day since 1970 → a text that changes whenever the day's buckets do, for each day that has any."""
        async with self._pool.acquire() as connection:
            return {day: str(events) for day, events in (await store.read_days(connection, topic)).items()}

    async def totals(self, indicator: EventIndicator, group_by: Sequence[str], from_minute: int, to_minute: int) -> pl.DataFrame:
        """One row per group and minute in [from, to) that has events: the dimensions of `group_by`, `minute` (since 1970),
        `numerator`, `denominator` (absent for counts and sums) and `sample`. Groups where nothing counted are left out.
        Only for indicators that are sums."""
        # whatever is judged on the topic is read at once, so that one shape of the buckets serves it all
        wanted = self._watched[indicator.topic]
        wanted = wanted if set(indicator.measures) <= set(wanted) else indicator.measures
        covered = by_minutes([(from_minute, to_minute)])
        [frame] = await self._read(indicator.topic, tuple(group_by), [(wanted, covered)], {}, group_by, is_each=True)
        sums = frame.select(
            pl.col(group_by).cast(pl.String), pl.col(MINUTE), **{name: pl.col(part.name) for name, part in indicator.parts.items()}
        )
        return added_up([sums], group_by).filter(pl.col("sample") != 0).select(sums.columns)

    async def figures(
        self,
        topic: str,
        parts: Mapping[str, Measure],
        dimensions: Sequence[str],
        windows: Windows,
        filters: Filters | None = None,
        group_by: Sequence[str] = (),
        most_rows: int | None = None,
    ) -> pl.DataFrame:
        """One row per group and window, as of `figures_over_windows`. `dimensions` are those of the filters and groups at least:
        with more, one shape of the buckets serves more questions. Raises TooManyPoints beyond `most_rows`.

        Each sketch is read by itself: of its many rows no other measure has anything to say.
        """
        sums = tuple(measure for measure in parts.values() if not measure.is_sketch)
        sketches = dict.fromkeys(measure for measure in parts.values() if measure.is_sketch)
        wanted = [
            (sums, cover(windows, self._calendar)),
            *(((sketch,), cover(windows, self._calendar, by_hours=True)) for sketch in sketches),
        ]
        frames = await self._read(topic, tuple(dimensions), wanted, filters or {}, group_by)
        if most_rows is not None and group_by and frames[0].select(group_by).n_unique() * len(windows) > most_rows:
            raise TooManyPoints  # whatever a sketch knows of was counted, too
        return await asyncio.to_thread(figures_over_windows, frames, group_by, windows, parts)

    async def _read(
        self,
        topic: str,
        dimensions: tuple[str, ...],
        wanted: Sequence[tuple[Sequence[Measure], Cover]],
        filters: Filters,
        group_by: Sequence[str],
        is_each: bool = False,
    ) -> list[pl.DataFrame]:
        """Of each of the wanted: `group_by`, `minute`, `cell` and the measures by name, of buckets in its cover, at one moment."""
        book = self._books.setdefault((topic, dimensions), SeriesBook(dimensions))
        parts: list[tuple[tuple[str, ...], list[tuple[list[Block], Minutes]]]] = []
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            is_rolled_up = await store.read_zone(connection) in (None, self._calendar.name)
            for measures, covered in wanted:
                if not is_rolled_up:
                    covered = by_minutes([(start, end) for part in covered for start, end in part.tolist()])
                names = tuple(sorted({measure.name for measure in measures}))
                shapes = [(Shape(topic, dimensions, grain, names), ranges) for grain, ranges in _grains(covered)]
                parts.append((names, [(await self._blocks(connection, shape, ranges, book), ranges) for shape, ranges in shapes]))
        series = book.matching(filters)

        def gather(names: tuple[str, ...], of_grains: list[tuple[list[Block], Minutes]]) -> pl.DataFrame:
            met = [one for blocks, ranges in of_grains for one in find(blocks, ranges, series, is_each)]
            return gathered(met, book, names, group_by)

        return [await asyncio.to_thread(gather, *part) for part in parts]

    async def _blocks(self, connection: Connection, shape: Shape, ranges: Minutes, book: SeriesBook) -> list[Block]:
        ids = await store.read_ids(connection, shape.topic, shape.grain, _days(ranges))
        found = self.cache.take(ids, shape)
        missing = [id_ for id_ in ids if id_ not in found]
        if missing:
            self.cache.drop(await store.read_gone(connection, self.cache.ids(shape.topic)))
        for at in range(0, len(missing), SEGMENTS_AT_ONCE):
            data = await store.read_data(connection, missing[at : at + SEGMENTS_AT_ONCE])
            made = await asyncio.to_thread(self._shaped, data, shape, book)
            self.cache.keep(made, shape)
            found |= made
        return list(found.values())

    def _shaped(self, data: Mapping[int, bytes], shape: Shape, book: SeriesBook) -> dict[int, Block]:
        return {id_: shaped(raw, shape, self._calendar, book) for id_, raw in data.items()}


def _measures(indicators: Sequence[EventIndicator]) -> tuple[Measure, ...]:
    return tuple(dict.fromkeys(measure for indicator in indicators for measure in indicator.measures))


def _grains(covered: Cover) -> list[tuple[store.Grain, Minutes]]:
    parts: list[tuple[store.Grain, Minutes]] = [("day", covered.days), ("hour", covered.hours), ("minute", covered.minutes)]
    # by columns, as hundreds of blocks look for their own among the edges
    return [(grain, np.asfortranarray(ranges)) for grain, ranges in parts if len(ranges)]


def _days(ranges: Minutes) -> list[tuple[int, int]]:
    """The UTC days of these minutes: first and last of each stretch."""
    days = np.stack([ranges[:, 0] // MINUTES_A_DAY, (ranges[:, 1] - 1) // MINUTES_A_DAY + 1], axis=1)
    starts, ends = days.T
    # stretches that share a day or touch become one
    begins = np.concatenate([[True], starts[1:] > np.maximum.accumulate(ends)[:-1]])
    firsts = np.flatnonzero(begins)
    lasts = np.maximum.reduceat(ends, firsts) - 1
    bound = 2**30  # whoever asks for a far future asks for nothing
    return [(max(first, -bound), min(last, bound)) for first, last in zip(starts[firsts].tolist(), lasts.tolist(), strict=True)]
