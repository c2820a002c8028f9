"""Buckets: per minute, hour or day of event time and combination of dimensions, the sums of the catalogue's measures.

Buckets are kept in immutable segments, a few frames per topic and UTC day that merge: a batch writes a segment of its own instead
of touching rows, and compaction merges small ones into a larger one. A roll-up is the same frame with hours or days for minutes.
Numbers of a sketch stand in rows of their own, told apart by `cell`, which is null in all others.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.columns import DISSATISFIED_BELOW, MINUTE, TYPE, raw_columns, with_derived
from closedloop.kpi.domain.measures import Measure, is_maximum

MINUTES_A_DAY: Final = 24 * 60
CELL: Final = "cell"
SAMPLE: Final = 2000
"""Rows by which the number of different buckets is estimated; smaller frames are grouped anyway."""


@dataclass(frozen=True)
class Bucketing:
    """How one topic's events become buckets."""

    topic: str
    dimensions: tuple[str, ...]
    derived: frozenset[str]
    measures: tuple[Measure, ...]
    dissatisfied_below: float

    @classmethod
    def of(cls, catalogue: Catalogue, topic: str, dissatisfied_below: float = DISSATISFIED_BELOW) -> "Bucketing":
        """As the catalogue's indicators need it."""
        return cls(
            topic,
            catalogue.dimensions(topic),
            catalogue.columns(topic) - {MINUTE},
            catalogue.measures(topic),
            dissatisfied_below,
        )

    def fold(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Events (raw columns and `minute`) → buckets, in order of minutes. Those where nothing counts are left out.

        Where hardly two events share a bucket, each is one: buckets of a segment add up in any case, and grouping is dear.
        """
        events = with_derived(frame, self.topic, self.derived, self.dissatisfied_below)
        keys = (MINUTE, *self.dimensions)
        values = [measure.expression.alias(measure.name) for measure in self.measures if not measure.is_sketch]
        is_apart = _mostly_apart(events, keys)
        if is_apart:
            # sorted before it gets as wide as the catalogue has measures
            sums = events.sort(MINUTE).lazy().select(*keys, *values)
        else:
            sums = events.lazy().group_by(keys).agg(pl.Expr.sum(value) for value in values)
        # whatever adds to a sum is counted, too
        counts = pl.any_horizontal(pl.col(measure.name) != 0 for measure in self.measures if measure.is_count)
        sketches = [
            events.lazy()
            .select(*keys, sketch=measure.expression)
            .unnest("sketch")
            .drop_nulls(CELL)
            .rename({"number": measure.name})
            for measure in self.measures
            if measure.is_sketch
        ]
        buckets = sums.filter(counts)
        if sketches:
            buckets = pl.concat([buckets, *sketches], how="diagonal").with_columns(pl.col(pl.Float64).fill_null(0.0))
        return (buckets.collect() if is_apart and not sketches else buckets.sort(MINUTE).collect()).set_sorted(MINUTE)


def _mostly_apart(frame: pl.DataFrame, keys: Sequence[str]) -> bool:
    """Whether the frame has, by an estimate, fewer rows than half of the different keys that there are to fall on.

    Of s rows drawn from k equally frequent keys about s² / 2k fall on one that was drawn before.
    """
    sample = frame.select(keys).gather_every(max(1, len(frame) // SAMPLE))
    repeated = len(sample) - sample.n_unique()
    return len(sample) >= SAMPLE and len(frame) * 4 * repeated < len(sample) ** 2


def needed_columns(catalogue: Catalogue, topic: str) -> frozenset[str]:
    """The raw columns to read from the topic's records, at least one; `minute` is made without them."""
    return raw_columns(topic, catalogue.columns(topic) - {MINUTE}) | {TYPE}


def by_day(buckets: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """(UTC day since 1970, its buckets); the buckets are in order of minutes."""
    days = buckets[MINUTE] // MINUTES_A_DAY
    start = 0
    for day, rows in zip(*_run_lengths(days), strict=True):
        yield day, buckets.slice(start, rows)
        start += rows


def _run_lengths(days: pl.Series) -> tuple[list[int], list[int]]:
    runs = days.rle().struct.unnest()
    return runs["value"].to_list(), runs["len"].to_list()


def merged(segments: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """One segment from several."""
    together = pl.concat(list(segments), how="diagonal")
    dimensions = dimensions_of(together)
    if _mostly_apart(together, (MINUTE, *dimensions)):
        return together.with_columns(pl.col(pl.Float64).fill_null(0.0)).sort(MINUTE)
    return added_up([together], dimensions)


def rolled_up(segments: Iterable[pl.DataFrame], beginnings: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> pl.DataFrame:
    """One segment of coarser buckets; `beginnings` tells of minutes when the hour or day that holds them began."""
    together = pl.concat(list(segments), how="diagonal")
    return added_up([coarser(together, beginnings)], dimensions_of(together))


def coarser(buckets: pl.DataFrame, beginnings: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> pl.DataFrame:
    """The buckets with the beginning of their hour or day for their minute; not added up."""
    begun = beginnings(buckets[MINUTE].to_numpy().astype(np.int64))
    return buckets.with_columns(pl.Series(MINUTE, begun.astype(np.int32)))


def dimensions_of(segment: pl.DataFrame) -> list[str]:
    """The dimensions that a stored segment has."""
    return [name for name, dtype in segment.schema.items() if dtype == pl.String]


def added_up(segments: Iterable[pl.DataFrame], dimensions: Sequence[str]) -> pl.DataFrame:
    """One frame per minute, dimensions and cell from several, which may be told apart by more dimensions or fewer measures: one
    that an older segment did not know yet is null or 0 there."""
    together = pl.concat(list(segments), how="diagonal")
    keys = [MINUTE, *dimensions, *(name for name in together.columns if name == CELL)]
    numbers = [name for name, dtype in together.schema.items() if dtype == pl.Float64]
    merging = [pl.col(name).max().fill_null(0.0) if is_maximum(name) else pl.col(name).sum() for name in numbers]
    return together.lazy().group_by(keys).agg(merging).sort(MINUTE).collect()


def encode(buckets: pl.DataFrame) -> bytes:
    """As stored: Parquet, which reads single columns and packs codes well."""
    buffer = io.BytesIO()
    buckets.write_parquet(buffer, compression="zstd", compression_level=1, statistics=False)
    return buffer.getvalue()


def decode(data: bytes, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The buckets again; with `columns` those of them that this segment has."""
    if columns is not None:
        present = pl.read_parquet_schema(io.BytesIO(data))
        columns = [name for name in columns if name in present]
    return pl.read_parquet(io.BytesIO(data), columns=list(columns) if columns is not None else None)
