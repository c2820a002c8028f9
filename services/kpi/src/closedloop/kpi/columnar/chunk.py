"""Some thousand texts → columns. So few that their objects are still in the processor's cache when a column is read from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from closedloop.kpi.columnar import rules
from closedloop.kpi.columnar.closed import ClosedEvents
from closedloop.kpi.columnar.dictionary import Dictionary
from closedloop.kpi.columnar.fields import Fields
from closedloop.kpi.columnar.identity import Hashes, event_hashes
from closedloop.kpi.columnar.judge import Judge
from closedloop.kpi.columnar.strictness import Evidence, scanned
from closedloop.kpi.columnar.times import parse_times
from closedloop.kpi.domain.columns import AT, CLOSED_LISTS, COLUMNS, ENVELOPE

CHUNK: Final = 4096


@dataclass(frozen=True)
class Chunk:
    """The texts that could be decoded; all have the same length but the frame, which lacks `at`."""

    rows: NDArray[np.int64]
    """Their numbers in the batch."""
    at: NDArray[np.int64]
    """Event time in microseconds since 1970, where not doubtful."""
    hashes: Hashes
    contents: Hashes
    """`Fields.contents`."""
    doubtful: NDArray[np.bool_]
    """Not shown to keep all rules (apart from strictness, for which there is `evidence`), and not judged yet."""
    frame: pl.DataFrame
    evidence: Evidence


class ChunkReader:
    """Reads one topic's columns; those that are `needed` become the frame. Not for two threads at once."""

    def __init__(self, topic: str, needed: frozenset[str], closed: ClosedEvents) -> None:
        self._schema = {name: COLUMNS[topic][name] for name in sorted(needed)}
        self._closed = closed
        self._columns = {name: dtype for name, dtype in COLUMNS[topic].items() if name not in ENVELOPE}
        coded = rules.VALUE_RULES.keys() | CLOSED_LISTS[topic].keys()
        self._dictionaries = {
            name: Dictionary(name, dtype, rules.VALUE_RULES.get(name))
            for name, dtype in self._columns.items()
            if name in coded or dtype in (pl.Boolean, pl.Int64)
        }
        quantities = {name for name, dtype in self._columns.items() if dtype == pl.Float64}
        self.optional: Final = (self._dictionaries.keys() | quantities | needed) & self._columns.keys() - closed.required
        """The optional keys that are read of every event."""

    def read(self, texts: list[bytes], first: int, judge: Judge) -> Chunk:
        """The texts are the batch's from row `first`. What no closed decoder takes is judged at once."""
        events, rows, judged = self._events(texts, first, judge)
        at, proved = parse_times([event.time for event in events])
        unjudged = np.ones(len(rows), dtype=np.bool_) if not judged else ~np.isin(rows, list(judged))
        taken = texts if len(rows) == len(texts) and not judged else [texts[row] for row in (rows[unjudged] - first).tolist()]
        long, key_ends = scanned(taken)
        doubtful = ~proved
        doubtful[unjudged] |= long
        contents = np.empty(len(rows), dtype=np.uint64)
        groups = self._by_class(events)
        for places, fields in groups:
            doubtful[places] |= rules.doubtful(fields)
            contents[places] = fields.contents()
        keys_read = sum(fields.present(self.optional) for _, fields in groups)
        evidence = Evidence(rows[unjudged], key_ends, keys_read, is_whole=not judged)
        return Chunk(rows, at, event_hashes(events), contents, doubtful & unjudged, self._frame(groups), evidence)

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

    def _by_class(self, events: Sequence[Any]) -> list[tuple[Any, Fields]]:
        """(places in the chunk, fields) of each type that is there."""
        if len(self._closed.model) == 2 and events:  # one type, closed and common
            places: dict[type[Any], Any] = {next(iter(self._closed.model.values())): slice(None)}
        else:
            places = {}
            for place, kind in enumerate(map(type, events)):
                places.setdefault(self._closed.model[kind], []).append(place)
        return [
            (at, Fields(cls, events if isinstance(at, slice) else [events[n] for n in at], self._columns, self._dictionaries))
            for cls, at in places.items()
        ]

    def _frame(self, groups: Sequence[tuple[Any, Fields]]) -> pl.DataFrame:
        schema = {name: dtype for name, dtype in self._schema.items() if name != AT}
        frames = [pl.DataFrame([fields.series(name) for name in schema]) for _, fields in groups]
        if len(frames) <= 1:
            return frames[0] if frames else pl.DataFrame(schema=schema)
        order = np.argsort(np.concatenate([places for places, _ in groups]))
        return pl.concat(frames)[order]
