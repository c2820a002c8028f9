"""The import itself: rows in order, a batch at a time; what is done is noted after each."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from closedloop.cli.imports.checkpoint import State
from closedloop.cli.imports.conversion import Converted, Converter
from closedloop.cli.imports.exports import Export, Row
from closedloop.cli.imports.ingest_client import Rejection
from closedloop.cli.imports.rejects import RejectsFile
from closedloop.common.events.rules import Refused

BATCH_BYTES: Final = 4 * 1024 * 1024
IDS_REMEMBERED: Final = 1_000_000
KINDS_OF_REASONS: Final = 50
_QUOTED: Final = re.compile(r"'.*?'")


class Target(Protocol):
    """Where a batch goes: ingest, or nowhere in a dry run."""

    def send(self, lines: list[bytes]) -> list[Rejection]:
        """Deliver; tell the refusals."""


class Nowhere:
    """A dry run's target."""

    def send(self, lines: list[bytes]) -> list[Rejection]:
        """Takes all."""
        return []


class RepeatedIds:
    """Counts rows whose event id an earlier row had: they would count once, which is rarely what was meant. Bounded memory."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self.count = 0
        self.first: tuple[int, str] | None = None

    def note(self, row: int, id_: str) -> None:
        """Remember one id (the first million are)."""
        key = hash(id_)
        if key in self._seen:
            self.count += 1
            self.first = self.first or (row, id_)
        elif len(self._seen) < IDS_REMEMBERED:
            self._seen.add(key)


@dataclass
class Importing:
    """One run. `state` is where it begins, and is kept up to date; `done` is called when it was moved on."""

    export: Export
    converter: Converter
    target: Target
    state: State
    rejects: RejectsFile | None
    batch_rows: int
    done: Callable[[], None] = lambda: None
    moved: Callable[[], None] = lambda: None
    repeated: RepeatedIds = field(default_factory=RepeatedIds)
    first: Converted | None = None
    oldest: datetime | None = None
    newest: datetime | None = None
    examples: list[tuple[int, str]] = field(default_factory=list)
    _rows: list[Row] = field(default_factory=list)
    _converted: list[Converted] = field(default_factory=list)
    _refused: list[tuple[Row, str]] = field(default_factory=list)
    _bytes: int = 0

    def run(self) -> None:
        """Take every row that is not done yet. Raises CommandFailed; what was done by then is noted."""
        for row in self._remaining():
            try:
                converted = self.converter.convert(row)
            except Refused as refused:
                self._refused.append((row, str(refused)))
            else:
                self._take(row, converted)
            if len(self._rows) + len(self._refused) >= self.batch_rows or self._bytes >= BATCH_BYTES:
                self._flush(row.number)
        if self._rows or self._refused:
            self._flush(max(row.number for row in (*self._rows, *(row for row, _ in self._refused))))

    def _remaining(self) -> Iterator[Row]:
        for row in self.export.rows():
            if row.number > self.state.row:
                yield row

    def _take(self, row: Row, converted: Converted) -> None:
        self._rows.append(row)
        self._converted.append(converted)
        self._bytes += len(converted.json)
        self.repeated.note(row.number, converted.id)
        self.first = self.first or converted
        self.oldest = min(self.oldest or converted.at, converted.at)
        self.newest = max(self.newest or converted.at, converted.at)

    def _flush(self, last_row: int) -> None:
        rejections = self.target.send([converted.json for converted in self._converted]) if self._converted else []
        refused = self._refused + [(self._rows[r.index], f"ingest: {r.reason}") for r in rejections]
        refused.sort(key=lambda item: item[0].number)
        for row, reason in refused:
            self._count(row.number, reason)
        if self.rejects is not None:
            self.rejects.write([(row.number, reason, row.cells) for row, reason in refused])
            self.state.rejects_bytes = self.rejects.size
        self.state.accepted += len(self._converted) - len(rejections)
        self.state.rejected += len(refused)
        self.state.row = last_row
        self._rows, self._converted, self._refused, self._bytes = [], [], [], 0
        self.done()
        self.moved()

    def _count(self, row: int, reason: str) -> None:
        """By reason without its words in quotes, so that there are few."""
        kind = _QUOTED.sub("'…'", reason)
        if kind not in self.state.reasons:
            if len(self.state.reasons) >= KINDS_OF_REASONS:
                kind = "other reasons"
            elif len(self.examples) < KINDS_OF_REASONS:
                self.examples.append((row, reason))
        self.state.reasons[kind] = self.state.reasons.get(kind, 0) + 1
