"""What is kept in memory of segments: packed columns, so that millions of buckets fit, in an order that spares looking at most."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from closedloop.kpi.domain.buckets import CELL, added_up, coarser, decode
from closedloop.kpi.domain.columns import MINUTE
from closedloop.kpi.domain.cover import Calendar, Minutes
from closedloop.kpi.store import Grain

Rows: TypeAlias = NDArray[np.int64]
SeriesNumbers: TypeAlias = NDArray[np.int64]
Keys: TypeAlias = NDArray[np.int64]
"""Of a bucket: its series' number and, in the lower 16 bits, its minutes since the block's first. 32 days are 46,080."""
Numbers: TypeAlias = NDArray[np.float64]
KEY = "key"
_MINUTE_BITS: Final = 16
_ALL_MINUTES: Final = 2**_MINUTE_BITS - 1
_EXACT: Final = 2.0**53
"""Whole numbers up to this are exact in a double."""
_SPARSE_BELOW: Final = 3
"""Numbers of which fewer than one in so many is not 0 take less room with their rows than all of them do."""
_SEARCH: Final = 6
"""Buckets that are looked at in the time of one binary search, about."""
_OVERHEAD: Final = 600
_OVERHEAD_A_COLUMN: Final = 280
"""Bytes that a block and a column of it take beside the arrays' own, about."""


class Shape(NamedTuple):
    """What is kept of a segment: these measures per these dimensions and minute, hour or day."""

    topic: str
    dimensions: tuple[str, ...]
    grain: Grain
    measures: tuple[str, ...]


class SeriesBook:
    """Numbers the combinations of some dimensions as they come; a number stays. For several threads."""

    def __init__(self, dimensions: Sequence[str]) -> None:
        self._dimensions = list(dimensions)
        self._known = pl.DataFrame(schema=dict.fromkeys(dimensions, pl.String) | {KEY: pl.Int64})
        self._lock = Lock()

    def numbers_of(self, buckets: pl.DataFrame) -> SeriesNumbers:
        """Of each row its combination's number."""
        if not self._dimensions:
            return np.zeros(len(buckets), dtype=np.int64)
        met = buckets.select(self._dimensions).unique()
        with self._lock:
            new = met.join(self._known, on=self._dimensions, how="anti", nulls_equal=True)
            if len(new):
                added = new.with_columns(pl.Series(KEY, np.arange(len(self._known), len(self._known) + len(new), dtype=np.int64)))
                self._known = pl.concat([self._known, added.select(self._known.columns)], rechunk=True)
            known = self._known
        numbered = buckets.select(self._dimensions).join(
            known, on=self._dimensions, how="left", nulls_equal=True, maintain_order="left"
        )
        return numbered[KEY].to_numpy()

    def matching(self, filters: Mapping[str, Sequence[str]]) -> SeriesNumbers:
        """The numbers, ascending, of the combinations that all filters let through."""
        if not filters:
            return np.arange(len(self._known) if self._dimensions else 1, dtype=np.int64)
        return self._known.filter([pl.col(name).is_in(list(values)) for name, values in filters.items()])[KEY].to_numpy()

    def names_of(self, numbers: SeriesNumbers, dimensions: Sequence[str]) -> pl.DataFrame:
        """These dimensions of the combinations, as categories: there are few, of many rows."""
        return self._known.select(dimensions).cast(pl.Categorical)[pl.Series(numbers)] if dimensions else pl.DataFrame()


class Whole(NamedTuple):
    """Whole numbers, as running sums over the rows in which they are not 0: so any stretch is added up by looking at its ends."""

    height: int
    """Rows of the block."""
    rows: NDArray[np.uint32] | None
    """Those in which they are not 0; None: all."""
    running: NDArray[Any]
    """One more than those, from 0; as float32, where that is exact."""

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return self.running.nbytes + (self.rows.nbytes if self.rows is not None else 0)

    def at(self, rows: Rows) -> Numbers:
        """The numbers of these rows."""
        return _of_rows(np.diff(self.running.astype(np.float64)), self.rows, self.height, rows)

    def between(self, bounds: Rows) -> Numbers:
        """The sums over rows start … end − 1; `bounds` is of starts and ends in its second dimension."""
        running = self.running[_places(bounds, self.rows)].astype(np.float64)
        sums: Numbers = running[:, 1] - running[:, 0]
        return sums


class Fractions(NamedTuple):
    """Numbers of which differences of running sums would leave dust, in the rows in which they are not 0."""

    height: int
    rows: NDArray[np.uint32] | None
    numbers: NDArray[Any]

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return self.numbers.nbytes + (self.rows.nbytes if self.rows is not None else 0)

    def at(self, rows: Rows) -> Numbers:
        """As `Whole.at`."""
        return _of_rows(self.numbers, self.rows, self.height, rows)

    def between(self, bounds: Rows) -> Numbers:
        """As `Whole.between`; one is added to the other."""
        places = _places(bounds, self.rows)
        starts, ends = places[:, 0].ravel(), places[:, 1].ravel()
        which = np.repeat(np.arange(starts.size), ends - starts)
        sums = np.bincount(which, weights=self.numbers[_stretches(starts, ends)], minlength=starts.size)
        return sums.astype(np.float64, copy=False).reshape(bounds[:, 0].shape)


def _places(bounds: Rows, kept: NDArray[np.uint32] | None) -> Rows:
    """Where bounds of rows are among the rows that are kept."""
    return bounds if kept is None else kept.searchsorted(bounds.astype(np.uint32))


def _of_rows(numbers: NDArray[Any], kept: NDArray[np.uint32] | None, height: int, rows: Rows) -> Numbers:
    """Of these rows the numbers, which are of the rows that are kept; of others 0."""
    if kept is not None:
        if not kept.size:
            return np.zeros(rows.size)
        of_kept, numbers = numbers, np.zeros(height)
        numbers[kept] = of_kept
    return numbers[rows].astype(np.float64)


_NOTHING: Final = Whole(0, np.array([], dtype=np.uint32), np.zeros(1, dtype=np.float32))
"""A measure that counts nowhere in a block."""


class Found(NamedTuple):
    """What was asked of some buckets: an array each, and one per measure."""

    series: SeriesNumbers
    minutes: Rows
    cells: NDArray[np.int16]
    numbers: list[Numbers]


@dataclass(frozen=True, slots=True)
class Block:
    """A segment's buckets in one shape, by ascending series and then minute."""

    keys: Keys
    base: int
    """The first minute."""
    span: int
    """Minutes from there to the last one."""
    cells: NDArray[np.int16] | None
    columns: tuple[Whole | Fractions, ...]
    """Per measure of the shape."""

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        cells = self.cells.nbytes if self.cells is not None else 0
        columns = sum(_OVERHEAD_A_COLUMN + column.nbytes for column in self.columns if column is not _NOTHING)
        return _OVERHEAD + self.keys.nbytes + cells + columns

    def bounds(self, near: Minutes, wanted: SeriesNumbers) -> Rows:
        """Of each of the ranges (since `base`, n × 2) and wanted series (m) where its rows begin and end: n × 2 × m."""
        keys = near[:, :, None] + (wanted << _MINUTE_BITS)
        return self.keys.searchsorted(keys.ravel()).reshape(keys.shape)

    def each(self, near: Minutes, wanted: SeriesNumbers) -> Found:
        """Its buckets in the ranges (since `base`), of the wanted series."""
        if _SEARCH * wanted.size * near.size > self.keys.size:
            rows = self._looked_through(near, wanted)
        else:
            starts, ends = self.bounds(near, wanted).swapaxes(0, 1).reshape(2, -1)
            rows = _stretches(starts, ends)
        keys = self.keys[rows]
        return Found(
            keys >> _MINUTE_BITS,
            (keys & _ALL_MINUTES) + self.base,
            np.zeros(rows.size, dtype=np.int16) if self.cells is None else self.cells[rows],
            [column.at(rows) for column in self.columns],
        )

    def _looked_through(self, near: Minutes, wanted: SeriesNumbers) -> Rows:
        minutes = self.keys & _ALL_MINUTES
        place = np.searchsorted(near[:, 0], minutes, "right") - 1 if len(near) > 1 else np.where(minutes >= near[0, 0], 0, -1)
        rows = np.flatnonzero((place >= 0) & (minutes < near[place, 1]))
        series = self.keys[rows] >> _MINUTE_BITS
        found: Rows = rows[wanted[np.searchsorted(wanted, series).clip(max=wanted.size - 1)] == series]
        return found


def shaped(data: bytes, shape: Shape, calendar: Calendar, book: SeriesBook) -> Block:
    """A stored segment's block; what counts for nothing in its measures is left out."""
    segment = decode(data, [MINUTE, *shape.dimensions, CELL, *shape.measures])
    schema = {MINUTE: pl.Int32, **dict.fromkeys(shape.dimensions, pl.String)}
    nothing = pl.DataFrame(schema=schema | dict.fromkeys(shape.measures, pl.Float64))
    known = pl.concat([nothing, segment], how="diagonal").filter(pl.any_horizontal(pl.col(shape.measures).fill_null(0.0) != 0))
    if shape.grain != "minute":
        known = coarser(known, calendar.hour_of if shape.grain == "hour" else calendar.day_of)
    buckets = added_up([known], shape.dimensions)
    minutes, series = buckets[MINUTE].to_numpy().astype(np.int64), book.numbers_of(buckets)
    base, last = (int(minutes.min()), int(minutes.max())) if minutes.size else (0, 0)
    keys = (series << _MINUTE_BITS) + minutes - base
    order = keys.argsort(kind="stable")
    # only rows of a sketch have a cell: without them all can be added up
    has_cells = CELL in buckets.columns and buckets[CELL].null_count() < len(buckets)
    return Block(
        keys[order],
        base,
        last - base,
        buckets[CELL].fill_null(0).to_numpy().astype(np.int16)[order] if has_cells else None,
        tuple(packed(buckets[name].to_numpy()[order]) for name in shape.measures),
    )


def packed(numbers: Numbers) -> Whole | Fractions:
    """A measure's numbers, in little room."""
    height, counting = numbers.size, np.count_nonzero(numbers)
    if not counting:
        return _NOTHING  # most of many measures, in a small block
    rows = np.flatnonzero(numbers).astype(np.uint32) if counting * _SPARSE_BELOW < height else None
    kept = numbers if rows is None else numbers[rows]
    if np.all(kept == np.floor(kept)) and np.abs(kept).sum() < _EXACT:
        return Whole(height, rows, _narrow(np.concatenate([[0.0], np.cumsum(kept)])))
    return Fractions(height, rows, _narrow(kept))


def _narrow(numbers: Numbers) -> NDArray[Any]:
    narrow = numbers.astype(np.float32)
    return narrow if np.array_equal(narrow, numbers) else numbers


def find(blocks: Sequence[Block], ranges: Minutes, wanted: SeriesNumbers, is_each: bool) -> list[Found]:
    """What the blocks have in the disjoint ascending ranges [from, to) of the wanted series (ascending): their buckets, or, unless
    `is_each`, their sum for a range, at its first minute or the block's, where that is less work. Cells are not added up."""
    bases = np.array([block.base for block in blocks], dtype=np.int64)
    spans = np.array([block.span for block in blocks], dtype=np.int64)
    firsts, lasts = ranges[:, 1].searchsorted(bases, "right"), ranges[:, 0].searchsorted(bases + spans, "right")
    which = np.repeat(np.arange(len(blocks)), lasts - firsts)
    all_near = ranges[_stretches(firsts, lasts)] - bases[which, None]
    all_near = np.minimum(np.maximum(all_near, 0), spans[which, None] + 1)
    ends = np.cumsum(lasts - firsts).tolist()
    apart: list[Found] = []
    begins: list[Any] = []
    bounds: list[Any] = []
    sums: list[list[Any]] = []
    for block, start, end in zip(blocks, [0, *ends], ends, strict=False):
        near = all_near[start:end]
        if not near.size:
            continue
        if is_each or block.cells is not None or near.size * wanted.size > block.keys.size:
            apart.append(block.each(near, wanted))
            continue
        rows = block.bounds(near, wanted)
        begins.append(near[:, 0] + block.base)
        bounds.append(rows)
        sums.append([column.between(rows) for column in block.columns])
    if not bounds:
        return apart
    rows = np.concatenate(bounds)
    is_met = (rows[:, 0] < rows[:, 1]).ravel()
    added = Found(
        np.tile(wanted, len(rows))[is_met],
        np.repeat(np.concatenate(begins), wanted.size)[is_met],
        np.zeros(np.count_nonzero(is_met), dtype=np.int16),
        [np.concatenate(of_one).ravel()[is_met] for of_one in zip(*sums, strict=True)],
    )
    return [*apart, added]


def gathered(parts: Sequence[Found], book: SeriesBook, measures: Sequence[str], group_by: Sequence[str]) -> pl.DataFrame:
    """`group_by`, `minute`, `cell` and the measures of all of these; not added up."""
    nothing = np.array([], dtype=np.int64)
    columns: dict[str, NDArray[Any]] = {
        MINUTE: np.concatenate([nothing, *(part.minutes for part in parts)]),
        CELL: np.concatenate([nothing.astype(np.int16), *(part.cells for part in parts)]),
    }
    for n, name in enumerate(measures):
        columns[name] = np.concatenate([nothing.astype(np.float64), *(part.numbers[n] for part in parts)])
    if not group_by:
        return pl.DataFrame(columns)
    names = book.names_of(np.concatenate([nothing, *(part.series for part in parts)]), group_by)
    return pl.concat([names, pl.DataFrame(columns)], how="horizontal")


class Cache:
    """The blocks used last, up to `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[int, Shape], Block] = OrderedDict()
        self.nbytes = 0

    def take(self, ids: Iterable[int], shape: Shape) -> dict[int, Block]:
        """Those that are here."""
        found = {id_: self._kept[id_, shape] for id_ in ids if (id_, shape) in self._kept}
        for id_ in found:
            self._kept.move_to_end((id_, shape))
        return found

    def keep(self, blocks: Mapping[int, Block], shape: Shape) -> None:
        """Take these, and let go of those that were not used for longest."""
        for id_, block in blocks.items():
            if (id_, shape) not in self._kept:
                self._kept[id_, shape] = block
                self.nbytes += block.nbytes
        while self.nbytes > self._max_bytes and self._kept:
            _, dropped = self._kept.popitem(last=False)
            self.nbytes -= dropped.nbytes

    def ids(self, topic: str) -> set[int]:
        """The segments of the topic of which something is here."""
        return {id_ for id_, shape in self._kept if shape.topic == topic}

    def drop(self, ids: Collection[int]) -> None:
        """Forget segments that are no more."""
        gone = set(ids)
        for key in [key for key in self._kept if key[0] in gone]:
            self.nbytes -= self._kept.pop(key).nbytes

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._kept)


def _stretches(starts: Rows, ends: Rows) -> Rows:
    """start … end − 1 of each, one after the other."""
    if starts.size == 1:
        return np.arange(starts[0], ends[0])
    lengths = np.maximum(ends - starts, 0)
    ahead = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if lengths.size else lengths
    rows: Rows = np.arange(lengths.sum()) + np.repeat(starts - ahead, lengths)
    return rows
