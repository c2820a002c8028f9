"""Which version of an entry is in force on a day: files and what was saved over REST are one history."""

from collections.abc import Iterable, Mapping, Sequence
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


def in_force(files: Sequence[Written], saved: Iterable[Saved], day: date) -> list[Written]:
    """The entries of a day. Of an indicator's versions the highest one counts that is valid by then, whether it stands in a file or
    was saved: a later release may bring a higher one. Saved ones carry their version and first day."""
    latest: dict[str, Saved] = {}
    for one in saved:
        if one.valid_from <= day and (one.indicator_id not in latest or one.version > latest[one.indicator_id].version):
            latest[one.indicator_id] = one
    found: list[Written] = []
    for place, entry in files:
        id_ = entry.get("id") if isinstance(entry, Mapping) else None
        change = latest.get(id_) if isinstance(id_, str) else None
        if change is None or _version(entry) > change.version:
            found.append((place, entry))
            latest.pop(str(id_), None)
        elif change.entry is not None:
            found.append(_written(latest.pop(change.indicator_id)))
        else:
            latest.pop(change.indicator_id)
    return found + [_written(one) for one in latest.values() if one.entry is not None]


def _written(saved: Saved) -> Written:
    dated = {"version": saved.version, "valid_from": saved.valid_from}
    return f"saved version {saved.version}", {**(saved.entry or {}), **dated}


def _version(entry: object) -> int:
    version = entry.get("version", 1) if isinstance(entry, Mapping) else 1
    return version if isinstance(version, int) else 1
