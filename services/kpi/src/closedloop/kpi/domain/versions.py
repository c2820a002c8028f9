"""Which version of an entry is in force on a day: files and what was saved over REST are one history."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeAlias

Written: TypeAlias = tuple[str, object]
"""Where an entry stands, and the entry as it was written."""


@dataclass(frozen=True, slots=True)
class Saved:
    """One version that was saved. `entry` is None where the indicator was retired; `valid_from` is on the operator's calendar."""

    indicator_id: str
    version: int
    entry: Mapping[str, Any] | None
    valid_from: date
    counted_from: datetime | None
    saved_by: str
    saved_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class _Version:
    """What one version says; `written` is None where it retires the indicator. Of one number what was saved counts."""

    of: str
    number: int
    is_saved: bool
    valid_from: date | None
    written: Written | None


def in_force(files: Iterable[Written], saved: Iterable[Saved], day: date) -> list[Written]:
    """The entries of a day. Of an indicator's versions the highest one counts that is valid by then, whether it stands in a file or
    was saved: a later release may bring a higher one. Saved ones carry their version and first day."""
    chosen: dict[str, _Version] = {}
    for one in [*map(_of_file, files), *map(_of_saved, saved)]:
        if one.valid_from is not None and one.valid_from > day:
            continue
        known = chosen.get(one.of)
        if known is None or (known.number, known.is_saved) < (one.number, one.is_saved):
            chosen[one.of] = one
    return [one.written for one in chosen.values() if one.written is not None]


def known_since(files: Iterable[Written], saved: Iterable[Saved], day: date) -> list[Written]:
    """The entries of a day, and all versions that came after it or are still to come."""
    files, saved = list(files), list(saved)
    later = [one for one in [*map(_of_file, files), *map(_of_saved, saved)] if one.valid_from is not None and one.valid_from > day]
    return [*in_force(files, saved, day), *(one.written for one in later if one.written is not None)]


def days_of_change(files: Iterable[Written], saved: Iterable[Saved], after: date) -> list[date]:
    """The days after this one on which some version comes into force, ascending."""
    firsts = {one.valid_from for one in [*map(_of_file, files), *map(_of_saved, saved)]}
    return sorted(first for first in firsts if first is not None and first > after)


def version_of(written: Written) -> tuple[str, int]:
    """(indicator, number of the version); what is no entry, or has no id, is told by its place."""
    one = _of_file(written)
    return one.of, one.number


def first_day(written: Written) -> date | None:
    """The day from which a file's entry holds; None: from ever."""
    return _of_file(written).valid_from


def _of_file(written: Written) -> _Version:
    place, entry = written
    said: Mapping[Any, Any] = entry if isinstance(entry, Mapping) else {}
    id_, version, first = said.get("id"), said.get("version", 1), said.get("valid_from")
    return _Version(id_ if isinstance(id_, str) else place, version if isinstance(version, int) else 1, False, _day(first), written)


def _of_saved(saved: Saved) -> _Version:
    dated = {"version": saved.version, "valid_from": saved.valid_from}
    written = None if saved.entry is None else (f"saved version {saved.version}", {**saved.entry, **dated})
    return _Version(saved.indicator_id, saved.version, True, saved.valid_from, written)


def _day(value: object) -> date | None:
    """A first day as it is written; None where it is none, which the entry's reader complains of."""
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return None
    return value if type(value) is date else None
