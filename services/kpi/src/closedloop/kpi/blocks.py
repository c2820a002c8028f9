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
SeriesNumbers: TypeAlias = NDArray[np.uint32]
KEY = "key"
_NO_ROWS: Final[Rows] = np.array([], dtype=np.int64)
_SPARSE_BELOW = 3
"""A number of which at most one in so many is not 0 takes less room with its row than all of them do."""
_OVERHEAD = 600
"""Bytes that a block takes beside its columns, about."""


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
        self._known = pl.DataFrame(schema=dict.fromkeys(dimensions, pl.String) | {KEY: pl.UInt32})
        self._lock = Lock()

    def numbers_of(self, buckets: pl.DataFrame) -> SeriesNumbers:
        """Of each row its combination's number."""
        if not self._dimensions:
            return np.zeros(len(buckets), dtype=np.uint32)
        met = buckets.select(self._dimensions).unique()
        with self._lock:
            new = met.join(self._known, on=self._dimensions, how="anti", nulls_equal=True)
            if len(new):
                added = new.with_columns(pl.Series(KEY, np.arange(len(self._known), len(self._known) + len(new), dtype=np.uint32)))
                self._known = pl.concat([self._known, added.select(self._known.columns)], rechunk=True)
            known = self._known
        numbered = buckets.select(self._dimensions).join(
            known, on=self._dimensions, how="left", nulls_equal=True, maintain_order="left"
        )
        return numbered[KEY].to_numpy()

    def matching(self, filters: Mapping[str, Sequence[str]]) -> SeriesNumbers:
        """The numbers, ascending, of the combinations that all filters let through."""
        return self._known.filter([pl.col(name).is_in(list(values)) for name, values in filters.items()])[KEY].to_numpy()

    def names_of(self, numbers: SeriesNumbers, dimensions: Sequence[str]) -> pl.DataFrame:
        """These dimensions of the combinations, as categories: there are few, of many rows."""
        return self._known.select(dimensions).cast(pl.Categorical)[pl.Series(numbers)] if dimensions else pl.DataFrame()

    def __len__(self) -> int:
        return len(self._known)


class Sparse(NamedTuple):
    """A measure that counts in few of a block's rows."""

    rows: NDArray[np.uint32]
    numbers: NDArray[Any]

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return self.rows.nbytes + self.numbers.nbytes

    def of(self, rows: Rows, height: int) -> NDArray[Any]:
        """The numbers of some of the block's `height` rows."""
        all_rows = np.zeros(height, dtype=self.numbers.dtype)
        all_rows[self.rows] = self.numbers
        return all_rows[rows]


@dataclass(frozen=True, slots=True)
class Block:
    """A segment's buckets in one shape: by ascending minute where they are minutes, else by ascending series and then minute."""

    series: SeriesNumbers
    base: int
    """The first minute."""
    span: int
    """Minutes from there to the last one."""
    offsets: NDArray[np.uint16]
    """Minutes since then."""
    cells: NDArray[np.int16] | None
    numbers: tuple[NDArray[Any] | Sparse, ...]
    """Per measure of the shape; as float32, where that is exact."""
    by_minute: bool

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        cells = self.cells.nbytes if self.cells is not None else 0
        return _OVERHEAD + self.series.nbytes + self.offsets.nbytes + cells + sum(column.nbytes for column in self.numbers)

    def rows(self, ranges: Minutes, wanted: SeriesNumbers | None) -> Rows:
        """The rows in one of the disjoint ascending ranges [from, to) and of the wanted series (ascending; None: all)."""
        first, last = ranges[:, 1].searchsorted(self.base, "right"), ranges[:, 0].searchsorted(self.base + self.span, "right")
        near = np.minimum(np.maximum(ranges[first:last] - self.base, 0), 0xFFFF).astype(np.uint16)
        if not near.size:
            return _NO_ROWS
        if self.by_minute:
            rows = _stretches(self.offsets.searchsorted(near[:, 0]), self.offsets.searchsorted(near[:, 1]))
            return rows if wanted is None else rows[_among(self.series[rows], wanted)]
        if wanted is None:
            rows = np.arange(len(self.series))
        else:
            rows = _stretches(self.series.searchsorted(wanted, "left"), self.series.searchsorted(wanted, "right"))
        offsets = self.offsets[rows]
        place = np.searchsorted(near[:, 0], offsets, "right") - 1
        found: Rows = rows[(place >= 0) & (offsets < near[place, 1])]
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
    buckets = buckets.with_columns(pl.Series(KEY, book.numbers_of(buckets)))
    if shape.grain != "minute":
        buckets = buckets.sort(KEY, MINUTE)
    minutes = buckets[MINUTE].to_numpy()
    base, last = (int(minutes.min()), int(minutes.max())) if len(minutes) else (0, 0)
    return Block(
        np.ascontiguousarray(buckets[KEY].to_numpy()),
        base,
        last - base,
        (minutes - base).astype(np.uint16),
        buckets[CELL].fill_null(0).to_numpy().astype(np.int16) if CELL in buckets.columns else None,
        tuple(_packed(buckets[name].to_numpy()) for name in shape.measures),
        shape.grain == "minute",
    )


def gathered(
    blocks: Iterable[tuple[Block, Minutes]],
    book: SeriesBook,
    wanted: SeriesNumbers | None,
    measures: Sequence[str],
    group_by: Sequence[str],
) -> pl.DataFrame:
    """`group_by`, `minute`, `cell` and the measures of all these blocks' buckets in their ranges, of the wanted series; not added
    up."""
    series: list[Any] = [np.array([], dtype=np.uint32)]
    minutes: list[Any] = [np.array([], dtype=np.int64)]
    cells: list[Any] = [np.array([], dtype=np.int16)]
    numbers: list[list[Any]] = [[np.array([], dtype=np.float64)] for _ in measures]
    for block, ranges in blocks:
        rows = block.rows(ranges, wanted)
        if not rows.size:
            continue
        series.append(block.series[rows])
        minutes.append(block.offsets[rows].astype(np.int64) + block.base)
        cells.append(np.zeros(rows.size, dtype=np.int16) if block.cells is None else block.cells[rows])
        for column, packed in zip(numbers, block.numbers, strict=True):
            column.append(packed.of(rows, len(block.series)) if isinstance(packed, Sparse) else packed[rows])
    columns = {MINUTE: np.concatenate(minutes), CELL: np.concatenate(cells)}
    columns |= {name: np.concatenate(parts).astype(np.float64) for name, parts in zip(measures, numbers, strict=True)}
    names = book.names_of(np.concatenate(series), group_by)
    return pl.concat([names, pl.DataFrame(columns)], how="horizontal") if group_by else pl.DataFrame(columns)


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


def _among(series: SeriesNumbers, wanted: SeriesNumbers) -> NDArray[np.bool_]:
    if wanted.size <= 1:
        return series == wanted[0] if wanted.size else np.zeros(series.size, dtype=np.bool_)
    is_wanted: NDArray[np.bool_] = wanted[np.searchsorted(wanted, series).clip(max=wanted.size - 1)] == series
    return is_wanted


def _packed(numbers: NDArray[np.float64]) -> NDArray[Any] | Sparse:
    narrow = numbers.astype(np.float32)
    packed = narrow if np.array_equal(narrow, numbers) else numbers
    rows = np.flatnonzero(packed)
    return Sparse(rows.astype(np.uint32), packed[rows]) if rows.size * _SPARSE_BELOW < packed.size else packed
