"""Some thousand texts → columns. So few that their objects are still in the processor's cache when a column is read from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from closedloop.common.events.model import Event
from closedloop.common.events.topics import data_type
from closedloop.kpi.columnar import rules
from closedloop.kpi.columnar.closed import ClosedEvents
from closedloop.kpi.columnar.judge import Judge
from closedloop.kpi.columnar.strictness import Evidence, scanned
from closedloop.kpi.columnar.times import parse_times
from closedloop.kpi.domain.columns import AT, COLUMNS, TYPE

CHUNK: Final = 4096
_INT64: Final = 2**63


@dataclass(frozen=True)
class Chunk:
    """The texts that could be decoded; all have the same length but the frame, which lacks `at`."""

    rows: NDArray[np.int64]
    """Their numbers in the batch."""
    at: NDArray[np.int64]
    """Event time in microseconds since 1970, where not doubtful."""
    hashes: NDArray[np.uint64]
    doubtful: NDArray[np.bool_]
    """Not shown to keep all rules (apart from strictness, for which there is `evidence`), and not judged yet."""
    frame: pl.DataFrame
    evidence: Evidence


class ChunkReader:
    """Reads one topic's columns."""

    def __init__(self, topic: str, needed: frozenset[str], closed: ClosedEvents) -> None:
        self._schema = {name: COLUMNS[topic][name] for name in sorted(needed)}
        self._closed = closed
        self.fields: Final = closed.keys & self._schema.keys() - {TYPE} - closed.required
        """The optional keys that become columns."""

    def read(self, texts: list[bytes], first: int, judge: Judge) -> Chunk:
        """The texts are the batch's from row `first`. What no closed decoder takes is judged at once."""
        events, rows, judged = self._events(texts, first, judge)
        at, proved = parse_times([event.time for event in events])
        unjudged = np.ones(len(rows), dtype=np.bool_) if not judged else ~np.isin(rows, list(judged))
        taken = texts if len(rows) == len(texts) and not judged else [texts[row] for row in (rows[unjudged] - first).tolist()]
        long, key_ends = scanned(taken)
        doubtful = ~proved
        doubtful[unjudged] |= long
        groups = self._by_class(events)
        for group in groups:
            doubtful[group.rows] |= rules.doubtful(data_type(group.cls), group.column, len(group.data))
        frame = self._frame(groups)
        read = sum(len(frame) - frame[name].null_count() for name in self.fields)
        evidence = Evidence(rows[unjudged], key_ends, read, is_whole=not judged)
        return Chunk(rows, at, event_hashes(events), doubtful & unjudged, frame, evidence)

    def frame(self, frames: Sequence[pl.DataFrame], at: NDArray[np.int64]) -> pl.DataFrame:
        """All chunks' frames as one, with the times where they are asked for."""
        together = pl.concat(frames, rechunk=False)
        if AT in self._schema:
            together = together.with_columns(pl.Series(AT, at).cast(self._schema[AT]))
        return together.select(list(self._schema))

    def _events(self, texts: list[bytes], first: int, judge: Judge) -> tuple[list[Any], NDArray[np.int64], set[int]]:
        """(events, their rows, those rows that the common decoder had to judge)."""
        events: list[Any] = []
        refused: list[int] = []
        judged: set[int] = set()
        remaining = iter(texts)
        while True:
            try:
                events.extend(map(self._closed.decode, remaining))
                break
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                row = first + len(events)
                events.append(judge.event(row))
                if events[-1] is None:
                    refused.append(row - first)
                else:
                    judged.add(row)
        rows = np.arange(first, first + len(texts))
        if refused:
            rows = np.delete(rows, refused)
            events = [event for event in events if event is not None]
        return events, rows, judged

    def _by_class(self, events: Sequence[Any]) -> list["_OfOneClass"]:
        if len(self._closed.model) == 2 and events:  # one type, closed and common
            return [_OfOneClass(next(iter(self._closed.model.values())), slice(None), events)]
        rows: dict[type[Any], list[int]] = {}
        for row, kind in enumerate(map(type, events)):
            rows.setdefault(self._closed.model[kind], []).append(row)
        return [_OfOneClass(cls, np.array(of, dtype=np.int64), [events[row] for row in of]) for cls, of in rows.items()]

    def _frame(self, groups: Sequence["_OfOneClass"]) -> pl.DataFrame:
        schema = {name: dtype for name, dtype in self._schema.items() if name != AT}
        frames = [pl.DataFrame({name: of.series(name, dtype) for name, dtype in schema.items()}) for of in groups]
        if len(frames) <= 1:
            return frames[0] if frames else pl.DataFrame(schema=schema)
        order = np.argsort(np.concatenate([of.rows for of in groups]))
        return pl.concat(frames)[order]


class _OfOneClass:
    """Events of one type; a field's values are read once, for the rules and for the frame."""

    def __init__(self, cls: type[Event], rows: Any, events: Sequence[Any]) -> None:
        self.cls = cls
        self.rows = rows
        self.data = [event.data for event in events]
        self._columns: dict[str, list[Any]] = {}

    def column(self, name: str) -> list[Any]:
        """A data field's values."""
        if name not in self._columns:
            self._columns[name] = _reader(name)(self.data)
        return self._columns[name]

    def series(self, name: str, dtype: pl.DataType) -> pl.Series:
        """A column of the frame; nulls where this type has no such field."""
        if name == TYPE:
            return pl.repeat(str(self.cls.__struct_config__.tag), len(self.data), dtype=dtype, eager=True).alias(name)
        if name not in data_type(self.cls).__struct_fields__:
            return pl.repeat(None, len(self.data), dtype=dtype, eager=True).alias(name)
        values = self.column(name)
        if name == "level":  # the one field that may be text or a number stands as text
            values = [value if value is None else str(value) for value in values]
        if dtype == pl.Int64:  # JSON's whole numbers have no limit; one that is no column's is as good as unknown
            values = [value if value is None or abs(value) < _INT64 else None for value in values]
        return pl.Series(name, values, dtype=dtype, strict=True)


@cache
def _reader(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """Reads a field of each object. Compiled with the name in it, which is nearly twice as fast as attrgetter."""
    if not name.isidentifier():
        raise ValueError(name)
    reader: Callable[[Sequence[Any]], list[Any]] = eval(f"lambda objects: [o.{name} for o in objects]")  # noqa: S307
    return reader


def event_hashes(events: Sequence[Any]) -> NDArray[np.uint64]:
    """64 bits of (source, id) each: XXH3 of the id, seeded with XXH3 of the source. Stored, so it must never change."""
    digest = xxhash.xxh3_64_intdigest
    ids = [event.id.encode() for event in events]
    sources = [event.source for event in events]
    seeds = {source: digest(source.encode()) for source in set(sources)}
    seeding: Any = repeat(next(iter(seeds.values()))) if len(seeds) == 1 else map(seeds.__getitem__, sources)
    return np.fromiter(map(digest, ids, seeding), dtype=np.uint64, count=len(events))
